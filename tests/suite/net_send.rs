//! A packet goes only where the rules say, by whichever call it is sent. The policy is `network`.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    process::Stdio,
};

use agentid_tests::{
    harness::{
        Daemon, Peer, Run, calls::Socket, kernel::open_echoes_to_everyone, run::Terms, scene::USERS,
    },
    step::{By, Carry, Protocol, SockAddr},
};
use anyhow::{Context as _, Result, ensure};
use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, EACCES, ECONNRESET, EDESTADDRREQ, EINPROGRESS, EPERM, EPIPE,
    SOCK_DGRAM, SOCK_STREAM,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket},
};

const SOCKET: Socket = Socket(0);
const BOTH: [By; 2] = [By::Call, By::Ring];

fn network(daemon: &Daemon, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy: "network", uid, ..Terms::default() })
}

/// P2: by sendmsg(2) and by io_uring, over IPv4, IPv6 and IPv4 in IPv6; what is denied is not heard.
#[test]
fn sends_messages_with_an_address_only_as_granted() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, sent_to, denied) = (Peer::granted()?, Peer::sent_to()?, Peer::denied()?);
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (peer, errno) in [(&granted, 0), (&sent_to, 0), (&denied, EACCES)] {
            for to in peer.addresses() {
                for by in BOTH {
                    let calls = vec![SOCKET.like(to, Protocol::Udp), SOCKET.send_to_by(to, by)];
                    assert_eq!(run.last_call(calls)?, errno, "uid {uid}: {to} by {by:?}");
                    let heard = peer.hears(usize::from(errno == 0));
                    heard.with_context(|| format!("uid {uid}: {to} by {by:?}"))?;
                }
            }
        }
    }
    Ok(())
}

/// P2: `send` is no grant to connect, and a socket that is connected goes by `connect`.
#[test]
fn a_grant_to_send_is_no_grant_to_connect() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peer = Peer::sent_to()?;
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for to in peer.addresses() {
            let udp = vec![SOCKET.like(to, Protocol::Udp), SOCKET.connect(to), SOCKET.send()];
            assert_eq!(run.calls(udp)?, [0, 0, EACCES], "uid {uid}: {to}");
            let tcp = SOCKET.like(to, Protocol::Tcp);
            assert_eq!(run.last_call(vec![tcp, SOCKET.connect(to)])?, EACCES, "uid {uid}: {to}");
        }
    }
    Ok(())
}

/// P2: TCP Fast Open connects without connect(2).
#[test]
fn fast_open_is_a_connect() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (peer, errno) in [(&granted, 0), (&denied, EACCES)] {
            for to in peer.addresses() {
                for by in BOTH {
                    let calls = vec![SOCKET.like(to, Protocol::Tcp), SOCKET.open_fast(to, by)];
                    let found = run.last_call(calls)?;
                    // io_uring does not wait for the peer's answer.
                    let found = if found == EINPROGRESS { 0 } else { found };
                    assert_eq!(found, errno, "uid {uid}: {to} by {by:?}");
                }
                // And where connect(2) leaves it to the first message.
                let later =
                    SOCKET.set(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1_i32.to_ne_bytes());
                let calls = vec![SOCKET.like(to, Protocol::Tcp), later, SOCKET.connect(to)];
                assert_eq!(run.last_call(calls)?, errno, "uid {uid}: {to}");
            }
        }
        // TCP does not look at an address otherwise.
        let calls = vec![
            SOCKET.like(granted.v4(), Protocol::Tcp),
            SOCKET.connect(granted.v4()),
            SOCKET.send_to(denied.v4()),
        ];
        assert_eq!(run.last_call(calls)?, 0, "uid {uid}");
    }
    Ok(())
}

/// P2: connect(2) by io_uring.
#[test]
fn io_uring_connects_only_as_granted() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (peer, errno) in [(&granted, 0), (&denied, EACCES)] {
            for to in peer.addresses() {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let mut calls =
                        vec![SOCKET.like(to, protocol), SOCKET.connect_by(to, By::Ring)];
                    calls.extend((protocol == Protocol::Udp).then(|| SOCKET.send()));
                    let found = run.last_call(calls)?;
                    assert_eq!(found, errno, "uid {uid}: {protocol:?} to {to}");
                }
            }
        }
    }
    Ok(())
}

/// P2: families are read as the socket reads them.
#[test]
fn the_family_of_an_address_is_no_way_round() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    let unspecified = |at: SocketAddr| SockAddr { at, family: Some(AF_UNSPEC as u16) };
    let (v4, v6) = (SOCKET.make(AF_INET, SOCK_DGRAM, 0), SOCKET.make(AF_INET6, SOCK_DGRAM, 0));
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (peer, errno, heard) in [(&granted, 0, 1), (&denied, EACCES, 0)] {
            // No family, on IPv4: it is IPv4.
            let calls = vec![v4.clone(), SOCKET.send_to(unspecified(peer.v4()))];
            assert_eq!(run.last_call(calls)?, errno, "uid {uid}");
            peer.hears(heard)?;
            // An address of IPv4 on a socket of IPv6.
            let calls = vec![v6.clone(), SOCKET.send_to(peer.v4())];
            assert_eq!(run.last_call(calls)?, errno, "uid {uid}");
            peer.hears(heard)?;
            let calls = vec![v6.clone(), SOCKET.connect(peer.v4()), SOCKET.send()];
            assert_eq!(run.calls(calls)?, [0, 0, errno], "uid {uid}");
            peer.hears(heard)?;
            // No family, on IPv6.
            let calls = vec![v6.clone(), SOCKET.send_to(unspecified(peer.v6()))];
            assert_eq!(run.last_call(calls)?, EACCES, "uid {uid}");
            peer.hears(0)?;
        }
        // This host by another name.
        for (any, like) in [
            (SocketAddr::from((Ipv4Addr::UNSPECIFIED, granted.v4().port())), &v4),
            ((Ipv6Addr::UNSPECIFIED, granted.v4().port()).into(), &v6),
        ] {
            let calls = vec![like.clone(), SOCKET.send_to(any)];
            assert_eq!(run.last_call(calls)?, EACCES, "uid {uid}: {any}");
            granted.hears(0)?;
        }
    }
    Ok(())
}

/// P2: a socket forgets its peer at will, and is judged anew with each other one: one of datagrams when it sends.
#[test]
fn a_socket_with_another_peer_is_judged_by_that() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (peer, other) in [(granted.v4(), denied.v4()), (granted.v6(), denied.v6())] {
            let found = run.calls(vec![
                SOCKET.like(peer, Protocol::Udp),
                SOCKET.send(),
                SOCKET.connect(peer),
                SOCKET.send(),
                SOCKET.connect(other),
                SOCKET.send_to(other),
                SOCKET.send(),
                SOCKET.disconnect(peer),
                SOCKET.send(),
                SOCKET.connect(other),
                SOCKET.connect(peer),
                SOCKET.send(),
            ])?;
            let (no, none) = (EACCES, EDESTADDRREQ);
            assert_eq!(found, [0, none, 0, 0, 0, no, no, 0, none, 0, 0, 0], "uid {uid}: {peer}");
            granted.hears(2).with_context(|| format!("uid {uid}: {peer}"))?;
            denied.hears(0).with_context(|| format!("uid {uid}: {other}"))?;
            let found = run.calls(vec![
                SOCKET.like(peer, Protocol::Tcp),
                SOCKET.send(),
                SOCKET.connect(peer),
                SOCKET.send(),
                SOCKET.disconnect(peer),
                SOCKET.connect(other),
                SOCKET.send(),
            ])?;
            assert_eq!(found, [0, EPIPE, 0, 0, 0, no, ECONNRESET], "uid {uid}: {peer}");
        }
    }
    Ok(())
}

/// P2: what a passed socket is connected to is judged when something is sent.
#[test]
fn a_passed_socket_is_judged_by_its_peer() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    for uid in USERS {
        for (peer, errno) in [(&granted, 0), (&denied, EACCES)] {
            for to in peer.addresses() {
                let tcp = OwnedFd::from(TcpStream::connect(to)?);
                let any: SocketAddr = match to {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let udp = UdpSocket::bind(any)?;
                udp.connect(to)?;
                for socket in [tcp, OwnedFd::from(udp)] {
                    let terms = Terms { policy: "network", uid, ..Terms::default() };
                    let mut run = Run::launch_with(&daemon, &terms, Stdio::from(socket))?;
                    let found = run.last_call(vec![SOCKET.adopt(), SOCKET.send()])?;
                    assert_eq!(found, errno, "uid {uid}: {to}");
                }
                let heard = peer.hears(usize::from(errno == 0));
                heard.with_context(|| format!("uid {uid}: {to}"))?;
            }
        }
    }
    Ok(())
}

/// P2: nor by a message that names another peer than the socket has: whether the kernel connects by it or sends to the one there
/// is, is known when it has the socket's lock, and another thread may have that one taken away before.
#[test]
fn fast_open_names_the_peer_that_the_socket_has() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    let cases = [
        (&granted, &granted, 0),
        (&granted, &denied, EACCES),
        (&denied, &granted, EPERM),
        (&denied, &denied, EACCES),
    ];
    for uid in USERS {
        for (has, names, errno) in cases {
            for (to, other) in [(has.v4(), names.v4()), (has.v6(), names.v6())] {
                let terms = Terms { policy: "network", uid, ..Terms::default() };
                let stdin = Stdio::from(connected_meanwhile(to)?);
                let mut run = Run::launch_with(&daemon, &terms, stdin)?;
                let calls = vec![SOCKET.adopt(), SOCKET.open_fast(other, By::Call)];
                let what = format!("uid {uid}: {to}, {other}");
                let found = run.last_call(calls)?;
                // Of two reasons the one is told that was found first.
                let is_held = matches!(found, EACCES | EPERM);
                assert!(if errno == 0 { found == 0 } else { is_held }, "{what}: {found}");
            }
        }
    }
    Ok(())
}

/// Connected by a call that has not waited for it, and has not been repeated.
fn connected_meanwhile(to: SocketAddr) -> Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
    let begun = connect(socket.as_raw_fd(), &SockaddrStorage::from(to));
    ensure!(begun == Err(Errno::EINPROGRESS), "{to}: {begun:?}");
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    ensure!(poll(&mut asked, PollTimeout::from(10_000_u16))? == 1, "{to}: not connected");
    Ok(socket)
}

/// P2: a socket of datagrams that somebody else has made gets no peer that the rules do not grant: its packets are not judged
/// as the run's.
#[test]
fn a_passed_socket_of_datagrams_takes_granted_peers_alone() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    for uid in USERS {
        for (peer, errno) in [(&granted, 0), (&denied, EACCES)] {
            for (to, any) in [
                (peer.v4(), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
                (peer.v6(), SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
            ] {
                let passed = OwnedFd::from(UdpSocket::bind(any)?);
                let terms = Terms { policy: "network", uid, ..Terms::default() };
                let mut run = Run::launch_with(&daemon, &terms, Stdio::from(passed))?;
                let calls = vec![SOCKET.adopt(), SOCKET.connect(to)];
                assert_eq!(run.last_call(calls)?, errno, "uid {uid}: {to}");
            }
        }
    }
    Ok(())
}

/// P2: nor do sockets of a kind that a run cannot make become of use to it when they are passed.
#[test]
fn a_passed_socket_of_another_kind_is_of_no_use() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peer = Peer::granted()?;
    // SAFETY: takes plain integers; the descriptor is nobody else's.
    let raw = unsafe {
        let made = libc::socket(AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 253);
        anyhow::ensure!(made >= 0, "no raw socket: {}", std::io::Error::last_os_error());
        <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(made)
    };
    let terms = Terms { policy: "network", ..Terms::default() };
    let mut run = Run::launch_with(&daemon, &terms, Stdio::from(raw))?;
    let found =
        run.calls(vec![SOCKET.adopt(), SOCKET.send_to(peer.v4()), SOCKET.connect(peer.v4())])?;
    assert_eq!(found, [0, EACCES, EACCES]);
    Ok(())
}

/// P2: of messages to one address in a batch the kernel asks about the first alone, so that such a batch is denied. Without an
/// address it asks about each.
#[test]
fn a_batch_hides_nothing() -> Result<()> {
    let daemon = Daemon::shared()?;
    let granted = Peer::granted()?;
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for to in [granted.v4(), granted.v6()] {
            let hidden = if to.is_ipv4() {
                [Vec::new(), vec![source_route()], vec![device_v4()]]
            } else {
                [Vec::new(), vec![routing_header()], vec![device_v6()]]
            };
            for carry in hidden {
                let what = format!("uid {uid}: {to}, {carry:?}");
                let calls = vec![
                    SOCKET.like(to, Protocol::Udp),
                    SOCKET.send_two(Some(to), carry.clone()),
                    SOCKET.connect(to),
                    SOCKET.send_two(None, carry.clone()),
                ];
                // The first has gone when the second is refused; the call says that one was sent.
                let (errno, heard) = if carry.is_empty() { (0, 2) } else { (libc::EIO, 1) };
                assert_eq!(run.calls(calls)?, [0, EPERM, 0, errno], "{what}");
                granted.hears(heard).with_context(|| what)?;
            }
        }
    }
    for to in [granted.v4(), granted.v6()] {
        let any: SocketAddr =
            if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let terms = Terms { policy: "network", ..Terms::default() };
        let passed = OwnedFd::from(UdpSocket::bind(any)?);
        let mut run = Run::launch_with(&daemon, &terms, Stdio::from(passed))?;
        let calls = vec![SOCKET.adopt(), SOCKET.send_to(to), SOCKET.send_two(Some(to), Vec::new())];
        assert_eq!(run.calls(calls)?, [0, 0, EPERM], "{to}");
        granted.hears(1)?;
    }
    Ok(())
}

/// The number of a device to send by.
fn device_v4() -> Carry {
    let data = [&1_i32.to_ne_bytes()[..], &[0; 8]].concat();
    Carry { level: libc::IPPROTO_IP, kind: libc::IP_PKTINFO, data }
}

fn device_v6() -> Carry {
    let data = [&[0; 16], &1_i32.to_ne_bytes()[..]].concat();
    Carry { level: libc::IPPROTO_IPV6, kind: libc::IPV6_PKTINFO, data }
}

/// A routing header (type 4) with one segment, as a message carries it.
pub fn routing_header() -> Carry {
    let mut data = vec![0, 2, 4, 0, 0, 0, 0, 0];
    data.extend(Ipv6Addr::LOCALHOST.octets());
    Carry { level: libc::IPPROTO_IPV6, kind: libc::IPV6_RTHDR, data }
}

/// A loose source route by one address (`IP_RETOPTS`).
pub fn source_route() -> Carry {
    let mut data = vec![131, 7, 4];
    data.extend(Ipv4Addr::LOCALHOST.octets());
    data.push(0);
    Carry { level: libc::IPPROTO_IP, kind: libc::IP_RETOPTS, data }
}

/// P2: echo requests go only where a rule for `icmp` says, and are answered then.
#[test]
fn echo_requests_have_rules_of_their_own() -> Result<()> {
    open_echoes_to_everyone()?;
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for (policy, errno) in [("network", 0), ("fixture", EACCES)] {
            let mut run = Run::launch(&daemon, &Terms { policy, uid, ..Terms::default() })?;
            for to in [(Ipv4Addr::LOCALHOST, 20_000).into(), (Ipv6Addr::LOCALHOST, 20_000).into()] {
                let make = SOCKET.for_echoes(to);
                let found = run.last_call(vec![make.clone(), SOCKET.echo(Some(to))])?;
                assert_eq!(found, errno, "uid {uid}, {policy}: {to}");
                let calls = vec![make.clone(), SOCKET.connect(to), SOCKET.echo(None)];
                assert_eq!(run.calls(calls)?, [0, 0, errno], "uid {uid}, {policy}: {to}");
                let mut other = to;
                other.set_ip(match to {
                    SocketAddr::V4(_) => Ipv4Addr::new(127, 0, 0, 9).into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                });
                let found = run.last_call(vec![make, SOCKET.echo(Some(other))])?;
                assert_eq!(found, EACCES, "uid {uid}, {policy}: {other}");
            }
        }
    }
    Ok(())
}

/// P4: after the end nothing is sent, on whichever socket.
#[test]
fn an_ended_run_sends_nothing() -> Result<()> {
    let daemon = Daemon::start()?;
    let granted = Peer::granted()?;
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        let (tcp, udp, free) = (Socket(1), Socket(2), Socket(3));
        let to = granted.v6();
        let begun = run.calls(vec![
            tcp.make(AF_INET6, SOCK_STREAM, 0),
            tcp.connect(to),
            udp.make(AF_INET6, SOCK_DGRAM, 0),
            udp.connect(to),
            free.make(AF_INET6, SOCK_DGRAM, 0),
            tcp.send(),
            udp.send(),
            free.send_to(to),
        ])?;
        assert_eq!(begun, [0; 8], "uid {uid}");
        granted.hears(2)?;
        daemon.revoke(run.id())?;
        let after = run.calls(vec![
            tcp.send(),
            udp.send(),
            free.send_to(to),
            tcp.disconnect(to),
            tcp.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1_i32.to_ne_bytes()),
        ])?;
        assert_eq!(after, [EPERM; 5], "uid {uid}");
        granted.hears(0)?;
    }
    Ok(())
}
