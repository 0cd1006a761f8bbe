//! What comes to a socket of datagrams comes from whom the run may send to, or to where it may listen. The policy is
//! `network`.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    ops::Range,
};

use agentid_tests::{
    harness::{
        Daemon, Run, calls::Socket, run::Terms, scene::USERS, settle::settle, taken::socket_of,
    },
    step::{Call, Protocol},
};
use anyhow::{Context as _, Result, ensure};

const SOCKET: Socket = Socket(0);
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A sender at one of these ports.
fn sender(at: IpAddr, mut ports: Range<u16>) -> Result<UdpSocket> {
    ports.find_map(|port| UdpSocket::bind((at, port)).ok()).context("no port is free")
}

/// Those to whom the run may connect, and only send, and neither.
fn senders(at: IpAddr) -> Result<[UdpSocket; 3]> {
    Ok([sender(at, 20_000..25_000)?, sender(at, 40_000..41_000)?, sender(at, 30_000..40_000)?])
}

/// The run's one socket, to be read from outside, where nobody is asked: what is not there the packets' judge has dropped.
fn made(run: &mut Run, calls: Vec<Call>) -> Result<UdpSocket> {
    let errnos = run.calls(calls)?;
    ensure!(errnos.iter().all(|errno| *errno == 0), "{errnos:?}");
    let socket = UdpSocket::from(socket_of(run)?);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Each of them sends to the port of the socket at that address; which of them were heard.
fn heard(socket: &UdpSocket, at: IpAddr, senders: &[UdpSocket]) -> Result<Vec<bool>> {
    let to: SocketAddr = (at, socket.local_addr()?.port()).into();
    for sender in senders {
        sender.send_to(b"x", to)?;
    }
    settle()?;
    let mut from = Vec::new();
    loop {
        match socket.recv_from(&mut [0; 8]) {
            Ok((_, whom)) => from.push((whom.ip().to_canonical(), whom.port())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    let is_heard = |sender: &UdpSocket| {
        let own = sender.local_addr()?;
        Ok(from.contains(&(own.ip(), own.port())))
    };
    senders.iter().map(is_heard).collect()
}

/// P2: to a socket that listens nowhere: the answers of those who may be spoken to, connected or not, and nothing of anybody
/// else, also where he is the peer that the socket has taken.
#[test]
fn nobody_is_heard_who_may_not_be_spoken_to() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for at in LOOPBACK {
            let senders = senders(at)?;
            let [granted, _, stranger] = &senders;
            let mut run =
                Run::launch(&daemon, &Terms { policy: "network", uid, ..Terms::default() })?;
            let own = SOCKET.like(granted.local_addr()?, Protocol::Udp);
            let send = SOCKET.send_to(granted.local_addr()?);
            for any in [own.clone(), SOCKET.make(libc::AF_INET6, libc::SOCK_DGRAM, 0)] {
                let what = format!("uid {uid}, {at}: {any:?}");
                let socket = made(&mut run, vec![any, send.clone()])?;
                let denied = run.totals(&daemon)?.denied;
                assert_eq!(heard(&socket, at, &senders)?, [true, true, false], "{what}");
                assert_eq!(run.totals(&daemon)?.denied, denied + 1, "{what}");
            }
            for (peer, answers) in [(granted, [true, false, false]), (stranger, [false; 3])] {
                let socket = made(&mut run, vec![own.clone(), SOCKET.connect(peer.local_addr()?)])?;
                assert_eq!(heard(&socket, at, &senders)?, answers, "uid {uid}, {at}: connected");
            }
        }
    }
    Ok(())
}

/// P2: whoever comes to where the run may listen is heard, by each way in that the port has.
#[test]
fn a_server_hears_everyone_where_it_may_listen() -> Result<()> {
    let daemon = Daemon::shared()?;
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let [v4, v6] = LOOPBACK;
    for uid in USERS {
        let mut run = Run::launch(&daemon, &Terms { policy: "network", uid, ..Terms::default() })?;
        for (on, port, by) in [
            (v4, 25_900, v4),
            (v6, 25_900, v6),
            (any[0], 26_090, v4),
            (any[1], 26_090, v6),
            (any[1], 26_090, v4),
        ] {
            let own: SocketAddr = (on, port).into();
            let calls = vec![SOCKET.like(own, Protocol::Udp), SOCKET.bind(own)];
            let socket = made(&mut run, calls)?;
            let found = heard(&socket, by, &senders(by)?)?;
            assert_eq!(found, [true; 3], "uid {uid}: {own} by {by}");
        }
    }
    Ok(())
}

/// P2: two runs on one host: the one that may listen hears the other, and is heard where it may be spoken to.
#[test]
fn two_runs_hear_each_other_as_both_are_granted() -> Result<()> {
    let daemon = Daemon::shared()?;
    let launch = || Run::launch(&daemon, &Terms { policy: "network", ..Terms::default() });
    for at in LOOPBACK {
        let (mut server, mut client) = (launch()?, launch()?);
        let own: SocketAddr = (at, 25_901).into();
        let bound = vec![SOCKET.like(own, Protocol::Udp), SOCKET.bind(own)];
        let here = made(&mut server, bound)?;
        let sent = vec![SOCKET.like(own, Protocol::Udp), SOCKET.send_to(own)];
        let there = made(&mut client, sent)?;
        settle()?;
        let (_, from) = here.recv_from(&mut [0; 8]).context("the server hears nothing")?;
        let port = from.port();
        assert_eq!(port, there.local_addr()?.port(), "{at}");
        // Outside, nobody is asked whether he may answer; the packet is, and no rule grants it.
        let answered = here.send_to(b"x", from).map_err(|error| error.raw_os_error());
        assert_eq!(answered, Err(Some(libc::EPERM)), "{at}");
    }
    Ok(())
}
