//! Ports are taken, and connections with them, only as granted. The policy is `network`.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    process::Stdio,
};

use agentid_tests::{
    harness::{Daemon, Run, calls::Socket, run::Terms, scene::USERS, wait},
    step::{Protocol, SockAddr},
};
use anyhow::{Context as _, Result};
use libc::{AF_INET, AF_INET6, AF_UNSPEC, EACCES, EAGAIN, EPERM, SOCK_STREAM};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket,
};

const SOCKET: Socket = Socket(0);
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

const V4: Ipv4Addr = Ipv4Addr::LOCALHOST;
const V6: Ipv6Addr = Ipv6Addr::LOCALHOST;
const ANY_V4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ANY_V6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

fn at(address: impl Into<std::net::IpAddr>, port: u16) -> SocketAddr {
    (address.into(), port).into()
}

fn network(daemon: &Daemon, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy: "network", uid, ..Terms::default() })
}

/// P2: by both protocols, and over both families.
#[test]
fn takes_a_port_only_where_the_rules_say() -> Result<()> {
    let daemon = Daemon::shared()?;
    let places = [
        (at(V4, 25_001), 0),
        (at(V6, 25_001), 0),
        (at(V4.to_ipv6_mapped(), 25_001), 0),
        (at(V4, 24_999), EACCES),
        (at(V6, 31_000), EACCES),
        (at(Ipv4Addr::new(127, 0, 0, 3), 25_001), EACCES),
        // What stands for all addresses is not granted by one of them.
        (at(ANY_V4, 25_001), EACCES),
        (at(ANY_V6, 25_001), EACCES),
        (at(ANY_V4.to_ipv6_mapped(), 25_001), EACCES),
        (at(ANY_V4, 26_001), 0),
        (at(ANY_V6, 26_001), 0),
        (at(ANY_V4.to_ipv6_mapped(), 26_001), 0),
        (at(V4, 26_001), EACCES),
        // All of IPv6, but not IPv4, which `::` takes as well.
        (at(V6, 26_201), 0),
        (at(ANY_V6, 26_201), EACCES),
        (at(ANY_V4, 26_201), EACCES),
    ];
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (place, errno) in places {
            for protocol in PROTOCOLS {
                let calls = vec![SOCKET.like(place, protocol), SOCKET.bind(place)];
                assert_eq!(run.last_call(calls)?, errno, "uid {uid}: {protocol:?} on {place}");
            }
        }
    }
    Ok(())
}

/// P2: saying that IPv4 is not meant does not help, because that can be taken back.
#[test]
fn a_socket_for_ipv6_alone_is_judged_for_both() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = network(&daemon, 0)?;
    for (port, errno) in [(26_201, EACCES), (26_001, 0)] {
        let only = SOCKET.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1_i32.to_ne_bytes());
        let place = at(ANY_V6, port);
        let calls = vec![SOCKET.like(place, Protocol::Tcp), only, SOCKET.bind(place)];
        assert_eq!(run.last_call(calls)?, errno, "port {port}");
    }
    Ok(())
}

/// P2: an address without a family is one of IPv4 to a socket of IPv4.
#[test]
fn an_address_without_a_family_is_judged_as_the_kernel_reads_it() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        let name = |address: SocketAddr| SockAddr { at: address, family: Some(AF_UNSPEC as u16) };
        for (port, errno) in [(31_000, EACCES), (26_001, 0)] {
            let place = at(ANY_V4, port);
            let calls = vec![SOCKET.like(place, Protocol::Tcp), SOCKET.bind(name(place))];
            assert_eq!(run.last_call(calls)?, errno, "uid {uid}: port {port}");
        }
        let place = at(ANY_V6, 26_001);
        let calls = vec![SOCKET.like(place, Protocol::Udp), SOCKET.bind(name(place))];
        assert_eq!(run.last_call(calls)?, EACCES, "uid {uid}");
    }
    Ok(())
}

/// P2: a port of the kernel's choice is free, and to listen on it is not.
#[test]
fn port_0_grants_nothing() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for place in [at(V4, 0), at(V6, 0), at(ANY_V4, 0), at(ANY_V6, 0)] {
            for protocol in PROTOCOLS {
                let calls = vec![SOCKET.like(place, protocol), SOCKET.bind(place)];
                assert_eq!(run.last_call(calls)?, 0, "uid {uid}: {protocol:?} on {place}");
            }
            let tcp = SOCKET.like(place, Protocol::Tcp);
            let calls = vec![tcp, SOCKET.bind(place), SOCKET.listen()];
            assert_eq!(run.last_call(calls)?, EACCES, "uid {uid}: {place}");
        }
        // Every port of this one is granted, whatever it is.
        let place = at(Ipv4Addr::new(127, 0, 0, 2), 0);
        let calls = vec![SOCKET.like(place, Protocol::Tcp), SOCKET.bind(place), SOCKET.listen()];
        assert_eq!(run.last_call(calls)?, 0, "uid {uid}");
        // Nothing is bound: the kernel would take every address.
        for family in [AF_INET, AF_INET6] {
            let calls = vec![SOCKET.make(family, SOCK_STREAM, 0), SOCKET.listen()];
            assert_eq!(run.last_call(calls)?, EACCES, "uid {uid}: family {family}");
        }
    }
    Ok(())
}

/// P2, P4: a server that is granted serves, until the run is revoked.
#[test]
fn serves_where_it_is_granted_until_the_end() -> Result<()> {
    let daemon = Daemon::start()?;
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (number, place) in
            [at(V4, 25_002), at(V6, 25_002), at(ANY_V6, 26_002)].into_iter().enumerate()
        {
            let socket = Socket(number);
            let reuse = socket.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, &1_i32.to_ne_bytes());
            let calls = vec![
                socket.like(place, Protocol::Tcp),
                reuse,
                socket.bind(place),
                socket.listen(),
                socket.accept(),
            ];
            assert_eq!(run.last_call(calls)?, EAGAIN, "uid {uid}: {place}");
            let to = if place.ip().is_unspecified() { at(V4, place.port()) } else { place };
            let client = TcpStream::connect(to).context("failed to connect to the run")?;
            // The caller may be told that he is connected before the listener is.
            wait::until("the connection has come", wait::SOON, || {
                let errno = run.last_call(vec![socket.accept()])?;
                assert!(errno == 0 || errno == EAGAIN, "uid {uid}: {place}: {errno}");
                Ok((errno == 0).then_some(()))
            })?;
            drop(client);
        }
        daemon.revoke(run.id())?;
        let after =
            run.calls(vec![Socket(0).accept(), Socket(1).listen(), Socket(2).bind(at(V4, 0))])?;
        assert_eq!(after, [EPERM; 3], "uid {uid}");
    }
    Ok(())
}

/// P2: a listener that comes from elsewhere gives connections only where the rules say so.
#[test]
fn takes_connections_of_a_passed_listener_only_as_granted() -> Result<()> {
    let daemon = Daemon::shared()?;
    let free = |ports: std::ops::Range<u16>| -> Result<(OwnedFd, u16)> {
        let bind = |port| Some((bound(at(V4, port)).ok()?, port));
        ports.into_iter().find_map(bind).context("no port is free")
    };
    for uid in USERS {
        for (ports, errno, listens) in
            [(41_000..42_000, 0, EACCES), (25_100..25_200, 0, 0), (31_000..32_000, EACCES, EACCES)]
        {
            // No run begins with a listener. This becomes one when it has begun.
            let (socket, port) = free(ports)?;
            let terms = Terms { policy: "network", uid, ..Terms::default() };
            let mut run = Run::launch_with(&daemon, &terms, Stdio::from(socket.try_clone()?))?;
            listen(&socket, Backlog::MAXCONN)?;
            let client = connect(at(V4, port))?;
            let accepted = run.last_call(vec![SOCKET.adopt(), SOCKET.accept()])?;
            assert_eq!(accepted, errno, "uid {uid}: port {port}");
            assert_eq!(run.last_call(vec![SOCKET.listen()])?, listens, "uid {uid}: port {port}");
            drop(client);
        }
    }
    Ok(())
}

fn bound(to: SocketAddr) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(socket)
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(to)
}
