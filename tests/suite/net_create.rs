//! Only those sockets can be made whose every use is judged.

use agentid_tests::{
    harness::{Daemon, Run, calls::Socket, run::Terms, scene::USERS},
    step::By,
};
use anyhow::Result;
use libc::{
    AF_ALG, AF_BLUETOOTH, AF_CAN, AF_INET, AF_INET6, AF_KEY, AF_NETLINK, AF_PACKET, AF_RDS,
    AF_TIPC, AF_UNIX, AF_VSOCK, AF_XDP, EAFNOSUPPORT, EPERM, EPROTONOSUPPORT, IPPROTO_MPTCP,
    IPPROTO_RAW, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, SOCK_DGRAM, SOCK_RAW,
    SOCK_SEQPACKET, SOCK_STREAM,
};

const SOCKET: Socket = Socket(0);
/// include/linux/socket.h
const AF_KCM: i32 = 41;
const AF_SMC: i32 = 43;
/// include/uapi/linux/in.h
const IPPROTO_SMC: i32 = 256;
const IPPROTO_DCCP: i32 = 33;
/// include/linux/net.h
const SOCK_DCCP: i32 = 6;
const SOCK_PACKET: i32 = 10;

/// What a run gets.
const MADE: [(i32, i32, i32); 11] = [
    (AF_INET, SOCK_STREAM, 0),
    (AF_INET, SOCK_STREAM, IPPROTO_TCP),
    (AF_INET, SOCK_DGRAM, 0),
    (AF_INET, SOCK_DGRAM, IPPROTO_UDP),
    (AF_INET6, SOCK_STREAM, 0),
    (AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
    (AF_UNIX, SOCK_STREAM, 0),
    (AF_UNIX, SOCK_DGRAM, 0),
    (AF_UNIX, SOCK_SEQPACKET, 0),
    (AF_NETLINK, SOCK_RAW, libc::NETLINK_ROUTE),
    (AF_NETLINK, SOCK_DGRAM, libc::NETLINK_ROUTE),
];

/// What it does not, and how it is told.
const REFUSED: [(i32, i32, i32, i32); 27] = [
    (AF_INET, SOCK_STREAM, IPPROTO_MPTCP, EPROTONOSUPPORT),
    (AF_INET6, SOCK_STREAM, IPPROTO_MPTCP, EPROTONOSUPPORT),
    (AF_INET, SOCK_STREAM, IPPROTO_SCTP, EPROTONOSUPPORT),
    (AF_INET6, SOCK_SEQPACKET, IPPROTO_SCTP, EPROTONOSUPPORT),
    (AF_INET, SOCK_STREAM, IPPROTO_SMC, EPROTONOSUPPORT),
    (AF_INET, SOCK_DCCP, IPPROTO_DCCP, EPROTONOSUPPORT),
    (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, EPROTONOSUPPORT),
    (AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE, EPROTONOSUPPORT),
    (AF_INET, SOCK_RAW, IPPROTO_RAW, EPERM),
    (AF_INET, SOCK_RAW, IPPROTO_TCP, EPERM),
    (AF_INET6, SOCK_RAW, IPPROTO_RAW, EPERM),
    (AF_INET6, SOCK_RAW, libc::IPPROTO_ICMPV6, EPERM),
    (AF_INET, SOCK_PACKET, 0x0300, EPERM),
    (AF_PACKET, SOCK_RAW, 0x0300, EPERM),
    (AF_PACKET, SOCK_DGRAM, 0, EPERM),
    (AF_NETLINK, SOCK_RAW, libc::NETLINK_NETFILTER, EPROTONOSUPPORT),
    (AF_NETLINK, SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT, EPROTONOSUPPORT),
    (AF_VSOCK, SOCK_STREAM, 0, EAFNOSUPPORT),
    (AF_ALG, SOCK_SEQPACKET, 0, EAFNOSUPPORT),
    (AF_KEY, SOCK_RAW, 2, EAFNOSUPPORT),
    (AF_XDP, SOCK_RAW, 0, EAFNOSUPPORT),
    (AF_TIPC, SOCK_STREAM, 0, EAFNOSUPPORT),
    (AF_BLUETOOTH, SOCK_RAW, 1, EAFNOSUPPORT),
    (AF_CAN, SOCK_RAW, 1, EAFNOSUPPORT),
    (AF_RDS, SOCK_SEQPACKET, 0, EAFNOSUPPORT),
    (AF_KCM, SOCK_DGRAM, 0, EAFNOSUPPORT),
    (AF_SMC, SOCK_STREAM, 0, EAFNOSUPPORT),
];

/// P2: also for root, and for what would load a module of the kernel first.
#[test]
fn makes_no_socket_that_no_rule_can_hold() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for (family, kind, protocol) in MADE {
            let errno = run.last_call(vec![SOCKET.make(family, kind, protocol)])?;
            assert_eq!(errno, 0, "uid {uid}: family {family}, type {kind}, protocol {protocol}");
        }
        let before = run.totals(&daemon)?;
        for (family, kind, protocol, errno) in REFUSED {
            let found = run.last_call(vec![SOCKET.make(family, kind, protocol)])?;
            assert_eq!(
                found, errno,
                "uid {uid}: family {family}, type {kind}, protocol {protocol}"
            );
        }
        // Ours, and not the kernel's for lack of it.
        let after = run.totals(&daemon)?;
        assert_eq!(after.denied - before.denied, REFUSED.len() as u64, "uid {uid}");
        assert_eq!(after.faults, before.faults);
    }
    Ok(())
}

/// P2: the type's flags change nothing, and io_uring is asked like everybody.
#[test]
fn is_asked_the_same_with_flags_and_by_io_uring() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for by in [By::Call, By::Ring] {
            let kind = SOCK_STREAM | libc::SOCK_NONBLOCK;
            let mut make =
                |protocol| run.last_call(vec![SOCKET.make_by(AF_INET, kind, protocol, by)]);
            assert_eq!(make(0)?, 0, "uid {uid}: {by:?}");
            assert_eq!(make(IPPROTO_MPTCP)?, EPROTONOSUPPORT, "uid {uid}: {by:?}");
            let raw = run.last_call(vec![SOCKET.make_by(AF_INET, SOCK_RAW, IPPROTO_RAW, by)])?;
            assert_eq!(raw, EPERM, "uid {uid}: {by:?}");
        }
    }
    Ok(())
}

/// P2: audit mode lets pass what the kernel itself grants.
#[test]
fn audit_mode_makes_them() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = Run::launch(&daemon, &Terms { policy: "audited", ..Terms::default() })?;
    assert_eq!(run.last_call(vec![SOCKET.make(AF_INET, SOCK_RAW, IPPROTO_RAW)])?, 0);
    Ok(())
}

/// P4: after the end none is made.
#[test]
fn an_ended_run_makes_none() -> Result<()> {
    let daemon = Daemon::start()?;
    let mut run = Run::of(&daemon, 0)?;
    daemon.revoke(run.id())?;
    for (family, kind, protocol) in MADE {
        let errno = run.last_call(vec![SOCKET.make(family, kind, protocol)])?;
        assert_eq!(errno, EPERM, "family {family}, type {kind}, protocol {protocol}");
    }
    Ok(())
}
