use super::*;

fn over() -> Tables {
    let mut tables = tables();
    tables.run().state = State::REVOKED;
    tables
}

fn named() -> unix::Peer<Chain> {
    unix::Peer::At(Chain(Vec::from([7, 1])))
}

#[test]
fn a_socket_of_the_runs_own_and_the_daemons_are_free_while_it_lives() {
    for peer in [unix::Peer::<Chain>::Own, unix::Peer::Control] {
        assert_eq!(may_talk(&tables(), &TAG, &peer), Ok(0));
        assert_eq!(may_talk(&over(), &TAG, &peer), refused(Reason::Revoked));
    }
}

#[test]
fn somebody_elses_needs_the_right_to_connect() {
    for (allow, answer) in
        [(Rights::CONNECT, Ok(2)), (Rights::ALL.minus(Rights::CONNECT), refused(Reason::NoRule))]
    {
        let mut tables = tables();
        tables.enter(POLICY, 1, [2, DEAD, DEAD, DEAD]);
        tables.state(2, allow, Rights::NONE);
        tables.nodes.get_mut(&2).unwrap().other = 2;
        assert_eq!(may_talk(&tables, &TAG, &named()), answer);
    }
    assert_eq!(may_talk(&over(), &TAG, &named()), refused(Reason::Revoked));
}

#[test]
fn what_lies_nowhere_is_nobodys_to_grant() {
    let nowhere = unix::Peer::<Chain>::Nowhere;
    assert_eq!(may_talk(&tables(), &TAG, &nowhere), refused(Reason::ForeignSocket));
    assert_eq!(may_talk(&over(), &TAG, &nowhere), refused(Reason::Revoked));
}

#[test]
fn after_the_end_only_what_ends_a_connection_passes() {
    for (empty, ends, closing, passes) in [
        (true, true, false, true),
        (true, false, true, true),
        (true, false, false, false),
        (false, true, true, false),
        (false, false, false, false),
    ] {
        let packet = Packet { empty, ends, closing };
        assert_eq!(may_pass(&tables(), &TAG, |_| Way::Free, || packet), Ok(0), "{packet:?}");
        let answer = may_pass(&over(), &TAG, |_| Way::Free, || packet);
        assert_eq!(answer, if passes { Ok(0) } else { refused(Reason::Revoked) }, "{packet:?}");
    }
    let nobody = Tag { slot: 9, ..TAG };
    let ending = Packet { empty: true, ends: true, closing: true };
    let answer = may_pass(&tables(), &nobody, |_| Way::Free, || ending);
    assert_eq!(answer, fault(Fault::InstanceLookup));
}

#[test]
fn a_packet_takes_no_detour() {
    let answer = |way| may_pass(&tables(), &TAG, |_| way, Packet::default);
    assert_eq!(answer(Way::Free), Ok(0));
    assert_eq!(answer(Way::Detour), refused(Reason::SocketOption));
    assert_eq!(answer(Way::Crowds), refused(Reason::Guarded));
    assert_eq!(answer(Way::Unread), fault(Fault::AddressRead));
}
