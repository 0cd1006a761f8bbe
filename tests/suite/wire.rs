//! The wire tells what a system call does not: whether a packet has left.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use agentid_tests::{
    harness::{
        Daemon, Peer, Run,
        calls::Socket,
        run::Terms,
        scene::USERS,
        wire::{self, Packet, Wire},
    },
    step::{By, Call, Carry, Protocol},
};
use anyhow::Result;
use libc::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_RAW};

use super::net_send::{routing_header, source_route};

const SOCKET: Socket = Socket(0);
/// Nobody's policy names it.
const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

/// Every way to have a packet leave for this peer. `granted` is one that may be talked to, on the way there.
fn ways(to: SocketAddr, granted: SocketAddr) -> Vec<Vec<Call>> {
    let (tcp, udp) = (|| SOCKET.like(to, Protocol::Tcp), || SOCKET.like(to, Protocol::Udp));
    let header = if to.is_ipv4() { source_route() } else { routing_header() };
    let family = if to.is_ipv4() { AF_INET } else { AF_INET6 };
    let later = SOCKET.set(IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1_i32.to_ne_bytes());
    let mut ways = vec![
        vec![tcp(), later, SOCKET.connect(to), SOCKET.send()],
        vec![tcp(), SOCKET.connect(granted), SOCKET.send_to(to)],
        vec![tcp(), SOCKET.connect(granted), SOCKET.disconnect(to), SOCKET.connect(to)],
        vec![udp(), SOCKET.connect(granted), SOCKET.send_to(to)],
        vec![udp(), SOCKET.connect(granted), SOCKET.send(), SOCKET.connect(to), SOCKET.send()],
        vec![udp(), SOCKET.send_to(granted), SOCKET.disconnect(to), SOCKET.send_to(to)],
        vec![udp(), SOCKET.send_two(Some(to), Vec::new())],
        vec![udp(), SOCKET.send_with(Some(to), vec![header.clone()])],
        vec![udp(), SOCKET.connect(to), SOCKET.send_two(None, vec![header])],
        vec![udp(), SOCKET.send_with(Some(to), vec![pktinfo(to)])],
    ];
    for by in [By::Call, By::Ring] {
        ways.push(vec![tcp(), SOCKET.connect_by(to, by)]);
        ways.push(vec![tcp(), SOCKET.open_fast(to, by)]);
        ways.push(vec![udp(), SOCKET.connect_by(to, by), SOCKET.send()]);
        ways.push(vec![udp(), SOCKET.send_to_by(to, by)]);
    }
    // UDP-Lite, SCTP, DCCP, MPTCP, and headers of one's own.
    for (kind, protocol) in [
        (SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        (libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        (libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP),
        (libc::SOCK_DCCP, libc::IPPROTO_DCCP),
        (libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
        (SOCK_RAW, IPPROTO_UDP),
        (SOCK_RAW, libc::IPPROTO_RAW),
    ] {
        let make = SOCKET.make(family, kind, protocol);
        ways.push(vec![make, SOCKET.connect(to), SOCKET.send(), SOCKET.send_to(to)]);
    }
    ways
}

/// The address that a message leaves from, and no device.
fn pktinfo(to: SocketAddr) -> Carry {
    match to.ip() {
        IpAddr::V4(own) => {
            let data = [&[0; 4], &own.octets(), &[0; 4][..]].concat();
            Carry { level: libc::IPPROTO_IP, kind: libc::IP_PKTINFO, data }
        }
        IpAddr::V6(own) => {
            let data = [&own.octets()[..], &[0; 4]].concat();
            Carry { level: libc::IPPROTO_IPV6, kind: libc::IPV6_PKTINFO, data }
        }
    }
}

/// P2: while a run tries every way there is, no packet leaves for a peer that its rules do not grant; for one that they do,
/// packets of TCP and UDP leave over IPv4 and IPv6.
#[test]
fn no_packet_leaves_for_a_peer_that_is_not_granted() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    let wire = Wire::tap()?;
    for uid in USERS {
        let terms = Terms { policy: "network", uid, ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        for peer in [&denied, &granted] {
            for (to, other) in peer.addresses().into_iter().zip(granted.addresses()) {
                for calls in ways(to, other) {
                    run.calls(calls)?;
                }
            }
        }
        let echo = SOCKET.make(AF_INET, SOCK_DGRAM, libc::IPPROTO_ICMP);
        run.calls(vec![echo, SOCKET.send_to(SocketAddr::new(NOBODY.into(), 0))])?;
        let all_kinds = |packets: &[Packet]| {
            let is = |protocol: i32, v4: bool| {
                let of = |packet: &&Packet| {
                    i32::from(packet.protocol) == protocol && packet.to.is_ipv4() == v4
                };
                wire::to_port(packets, granted.v4().port()).iter().any(|packet| of(&packet))
            };
            [true, false].into_iter().all(|v4| is(IPPROTO_TCP, v4) && is(IPPROTO_UDP, v4))
        };
        let mut packets = wire::until(&wire, "packets for who is granted", all_kinds)?;
        run.finish()?;
        packets.extend(wire.passed()?);
        let left = wire::to_port(&packets, denied.v4().port());
        assert_eq!(left, [], "uid {uid}: packets for who is not granted");
        let strays = packets.iter().filter(|packet| packet.to.ip() == IpAddr::from(NOBODY));
        assert_eq!(strays.count(), 0, "uid {uid}: echo requests");
    }
    Ok(())
}
