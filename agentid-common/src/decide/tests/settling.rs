use super::*;
use crate::verdict::{EAFNOSUPPORT, EPROTONOSUPPORT, EXDEV, Unsupported};

fn settled(verdict: Verdict, reason: Reason, fault: Fault, errno: i32) -> Settled {
    Settled { verdict, reason, fault, rule: 0, above: 0, errno }
}

#[test]
fn a_grant_passes_in_both_modes() {
    for mode in [Mode::ENFORCE, Mode::AUDIT, Mode(9)] {
        let found = settle(Ok(4), mode);
        assert_eq!((found.verdict, found.rule, found.errno), (Verdict::Allow, 4, 0));
    }
}

#[test]
fn a_rule_denies_with_the_errno_that_programs_expect_and_audit_lets_it_pass() {
    for &reason in Reason::ALL.iter().filter(|reason| reason.is_policy()) {
        let enforced = settle(refused(reason), Mode::ENFORCE);
        let errno = match reason {
            // kill(2) and ptrace(2) know no EACCES for a process that is not the caller's to touch, mknod(2) none for a
            // device, and setsockopt(2) none for an option; netlink(7), capabilities(7) and unshare(2) know EPERM alone.
            Reason::OutsideRun
            | Reason::DeviceNode
            | Reason::SocketOption
            | Reason::Netlink
            | Reason::Capability
            | Reason::UserNamespace => EPERM,
            // rename(2) and link(2): programs copy then.
            Reason::RightsGained => EXDEV,
            _ => EACCES,
        };
        assert_eq!(enforced, settled(Verdict::Deny, reason, Fault::None, -errno));
        let audited = settle(refused(reason), Mode::AUDIT);
        assert_eq!(audited, settled(Verdict::Audit, reason, Fault::None, 0));
    }
}

#[test]
fn a_kind_of_socket_is_refused_as_where_the_kernel_has_none() {
    for (what, errno) in [
        (Unsupported::Family, EAFNOSUPPORT),
        (Unsupported::Protocol, EPROTONOSUPPORT),
        (Unsupported::Privilege, EPERM),
    ] {
        let refusal = Err(Refusal::Unsupported(what));
        let denied = settled(Verdict::Deny, Reason::Protocol, Fault::None, -errno);
        assert_eq!(settle(refusal, Mode::ENFORCE), denied);
        let passed = settled(Verdict::Audit, Reason::Protocol, Fault::None, 0);
        assert_eq!(settle(refusal, Mode::AUDIT), passed);
    }
}

#[test]
fn the_end_of_a_run_and_our_own_objects_deny_in_both_modes() {
    for &reason in Reason::ALL.iter().filter(|reason| !reason.is_policy()) {
        for mode in [Mode::ENFORCE, Mode::AUDIT] {
            let expected = settled(Verdict::Deny, reason, Fault::None, -EPERM);
            assert_eq!(settle(refused(reason), mode), expected);
        }
    }
}

#[test]
fn a_fault_denies_in_both_modes() {
    for &kind in Fault::ALL {
        for mode in [Mode::ENFORCE, Mode::AUDIT] {
            let expected = settled(Verdict::Fault, Reason::None, kind, -EPERM);
            assert_eq!(settle(fault(kind), mode), expected);
        }
    }
}

#[test]
fn a_mode_that_nobody_knows_enforces() {
    assert_eq!(settle(refused(Reason::NoRule), Mode(7)).verdict, Verdict::Deny);
}

#[test]
fn audit_mode_never_passes_a_dead_run() {
    for state in [State::REVOKED, State::EXPIRED, State::COMPLETED, State::SUSPENDED, State::FREE] {
        let mut tables = tables();
        tables.state(1, Rights::ALL, Rights::NONE);
        tables.enter(POLICY, 1, [1, 0, 0, 0]);
        tables.run().mode = Mode::AUDIT;
        assert_eq!(tables.access(Rights::READ), Ok(1));
        tables.run().state = state;
        let mode = standing(&tables, &TAG).mode;
        assert_eq!(settle(tables.access(Rights::READ), mode).errno, -EPERM, "{state:?}");
    }
}

#[test]
fn an_answer_is_the_same_after_it_was_one_number() {
    let unsupported = [Unsupported::Family, Unsupported::Protocol, Unsupported::Privilege];
    let mut answers: Vec<Answer> = [0, 1, Rule::MAX].map(Ok).to_vec();
    for rule in [0, 1, Rule::MAX] {
        answers.extend(
            Reason::ALL
                .iter()
                .map(|&reason| Err(Refusal::Denied { reason, rule, above: (rule % 4) as u8 })),
        );
    }
    answers.extend(unsupported.map(|what| Err(Refusal::Unsupported(what))));
    answers.extend(Fault::ALL.iter().map(|&kind| Err(Refusal::Fault(kind))));
    for answer in answers {
        assert_eq!(Packed::of(answer).answer(), answer);
    }
}

#[test]
fn a_number_that_no_answer_has_is_a_fault() {
    for kind in 1..=u64::from(u16::MAX) {
        for member in [u64::from(Reason::END), 0xff, 0xffff, 0xffff_ffff] {
            let answer = Packed(kind << 48 | member << 16 | 7).answer();
            assert!(matches!(answer, Err(Refusal::Fault(_))), "{kind} {member}: {answer:?}");
        }
    }
}
