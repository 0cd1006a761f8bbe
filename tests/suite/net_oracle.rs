//! The kernel and `agentid why` give one answer about the network: every combination of family, protocol, call and peer.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use agentid_tests::{
    harness::{
        Daemon, Peer, Run, calls::Socket, kernel::open_echoes_to_everyone, run::Terms, scene::USERS,
    },
    step::{By, Call, Protocol},
};
use anyhow::{Result, ensure};
use libc::{EACCES, EINPROGRESS, EPERM};
use serde_json::json;

const SOCKET: Socket = Socket(0);

/// What the daemon is asked: which call, the end, the protocol.
pub(super) type Question = (&'static str, SocketAddr, &'static str);

const ICMP: &str = "icmp";

/// Calls of which the last is judged as the question is.
pub(super) struct Try {
    question: Question,
    calls: Vec<Call>,
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

pub(super) fn to_peer(to: SocketAddr) -> Vec<Try> {
    let mut tries = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for by in [By::Call, By::Ring] {
            let mut calls = vec![SOCKET.like(to, protocol), SOCKET.connect_by(to, by)];
            // A socket of datagrams may have any peer, and say nothing to it.
            calls.extend((protocol == Protocol::Udp).then(|| SOCKET.send()));
            tries.push(Try { question: ("connect", to, name(protocol)), calls });
        }
    }
    for by in [By::Call, By::Ring] {
        let calls = vec![SOCKET.like(to, Protocol::Tcp), SOCKET.open_fast(to, by)];
        tries.push(Try { question: ("connect", to, "tcp"), calls });
        let calls = vec![SOCKET.like(to, Protocol::Udp), SOCKET.send_to_by(to, by)];
        tries.push(Try { question: ("send", to, "udp"), calls });
    }
    tries
}

/// By ICMP, which has no ports. What passes is answered by the kernel.
fn to_host(to: SocketAddr) -> Vec<Try> {
    let make = SOCKET.for_echoes(to);
    let sent =
        Try { question: ("send", to, ICMP), calls: vec![make.clone(), SOCKET.echo(Some(to))] };
    let calls = vec![make, SOCKET.connect(to), SOCKET.echo(None)];
    // The peer of a socket that connects to every address is this host.
    let connected = Try { question: ("connect", to, ICMP), calls };
    if to.ip().is_unspecified() { vec![sent] } else { vec![sent, connected] }
}

pub(super) fn at_own(at: SocketAddr) -> Vec<Try> {
    let bind = |protocol| {
        let calls = vec![SOCKET.like(at, protocol), SOCKET.bind(at)];
        Try { question: ("listen", at, name(protocol)), calls }
    };
    vec![bind(Protocol::Tcp), bind(Protocol::Udp)]
}

/// P8: as both users, for what is granted and for what is not.
#[test]
fn the_kernel_does_what_the_daemon_says_about_the_network() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peers = [Peer::granted()?, Peer::sent_to()?, Peer::denied()?];
    let mut tries: Vec<Try> = peers.iter().flat_map(Peer::addresses).flat_map(to_peer).collect();
    let own: [std::net::IpAddr; 6] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 0, 0, 2).into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into(),
    ];
    for port in [25_003, 26_003, 26_203, 41_003] {
        tries.extend(own.into_iter().flat_map(|address| at_own((address, port).into())));
    }
    open_echoes_to_everyone()?;
    let hosts: [std::net::IpAddr; 4] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 0, 0, 9).into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    tries.extend(hosts.into_iter().flat_map(|address| to_host((address, 20_003).into())));
    let verdicts = ask(&daemon, "network", &tries, Passes::Kernel)?;
    let allowed = verdicts.values().filter(|passes| **passes).count();
    let refused = verdicts.len() - allowed;
    ensure!(allowed >= 30 && refused >= 30, "{allowed} allowed and {refused} denied say little");
    Ok(())
}

/// How far what is allowed gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passes {
    /// The kernel asked no more of it than its own questions.
    Kernel,
    /// Somebody was there.
    Whole,
}

/// Tries everything as both users, and asks the daemon about it; what the daemon says of each question.
pub(super) fn ask(
    daemon: &Daemon,
    policy: &str,
    tries: &[Try],
    passes: Passes,
) -> Result<BTreeMap<Question, bool>> {
    // Rules know no users: what is said of one run holds for another.
    let mut said: BTreeMap<Question, bool> = BTreeMap::new();
    for uid in USERS {
        let mut run = Run::launch(daemon, &Terms { policy, uid, ..Terms::default() })?;
        for Try { question, calls } in tries {
            let (call, end, proto) = *question;
            let allowed = match said.get(question) {
                Some(allowed) => *allowed,
                None => {
                    let of = json!({ "address": end.ip(), "port": end.port(), "protocol": proto });
                    let why = daemon.why(run.id(), &json!({ (call): of }))?;
                    ensure!(matches!(why.verdict.as_str(), "allow" | "deny"), "{why:?}");
                    *said.entry(*question).or_insert(why.verdict == "allow")
                }
            };
            let errno = run.last_call(calls.clone())?;
            let held = matches!(errno, EACCES | EPERM);
            // Of an echo request only its answer says that it has got there.
            let whole = proto == ICMP || passes == Passes::Whole;
            let gets_there = matches!(errno, 0 | EINPROGRESS);
            let as_said = if whole && allowed { gets_there } else { held != allowed };
            ensure!(as_said, "uid {uid}: {question:?}, {calls:?}: {errno}");
        }
    }
    Ok(said)
}
