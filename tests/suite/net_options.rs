//! No option of a socket, and nothing that travels with a message, leads elsewhere. The policy is `network`.

use agentid_tests::{
    harness::{Daemon, Peer, Run, calls::Socket, run::Terms, scene::USERS},
    step::{Carry, Protocol},
};
use anyhow::{Context as _, Result};
use libc::{EPERM, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, SOL_SOCKET};

use super::net_send::{routing_header, source_route};

const SOCKET: Socket = Socket(0);
const ONE: [u8; 4] = 1_i32.to_ne_bytes();

fn network(daemon: &Daemon, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy: "network", uid, ..Terms::default() })
}

/// P2: routes, marks, interfaces, made-up connections, programs in the kernel.
#[test]
fn sets_no_option_that_leads_elsewhere() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peer = Peer::granted()?;
    let denied: [(Protocol, i32, i32, Vec<u8>); 24] = [
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_RTHDR, routing_header().data),
        (Protocol::Tcp, IPPROTO_IPV6, libc::IPV6_RTHDR, routing_header().data),
        // IPV6_2292RTHDR and IPV6_2292PKTOPTIONS
        (Protocol::Udp, IPPROTO_IPV6, 5, routing_header().data),
        (Protocol::Udp, IPPROTO_IPV6, 6, ONE.into()),
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_HOPOPTS, vec![0; 8]),
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_DSTOPTS, vec![0; 8]),
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_RTHDRDSTOPTS, vec![0; 8]),
        // IPV6_ADDRFORM, IPV6_FLOWLABEL_MGR, IPV6_FLOWINFO_SEND
        (Protocol::Udp, IPPROTO_IPV6, 1, 2_i32.to_ne_bytes().into()),
        (Protocol::Udp, IPPROTO_IPV6, 32, vec![0; 32]),
        (Protocol::Udp, IPPROTO_IPV6, 33, ONE.into()),
        (Protocol::Tcp, IPPROTO_IPV6, libc::IPV6_TRANSPARENT, ONE.into()),
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, vec![0; 20]),
        (Protocol::Udp, IPPROTO_IP, libc::IP_OPTIONS, source_route().data),
        (Protocol::Tcp, IPPROTO_IP, libc::IP_OPTIONS, source_route().data),
        (Protocol::Tcp, IPPROTO_IP, libc::IP_TRANSPARENT, ONE.into()),
        (Protocol::Tcp, IPPROTO_IP, libc::IP_FREEBIND, ONE.into()),
        (Protocol::Udp, IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, vec![0; 8]),
        (Protocol::Udp, SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0".into()),
        (Protocol::Udp, SOL_SOCKET, libc::SO_MARK, ONE.into()),
        (Protocol::Udp, SOL_SOCKET, libc::SO_ATTACH_BPF, ONE.into()),
        (Protocol::Udp, SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF, ONE.into()),
        (Protocol::Tcp, IPPROTO_TCP, libc::TCP_REPAIR, ONE.into()),
        (Protocol::Tcp, IPPROTO_TCP, libc::TCP_ULP, b"tls".into()),
        // The level of MPTCP.
        (Protocol::Tcp, 284, 1, ONE.into()),
    ];
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        let before = run.totals(&daemon)?;
        for (protocol, level, option, value) in &denied {
            // Both families' options can be set on a socket of IPv6.
            let calls = vec![SOCKET.like(peer.v6(), *protocol), SOCKET.set(*level, *option, value)];
            assert_eq!(run.last_call(calls)?, EPERM, "uid {uid}: option {option} of {level}");
        }
        let after = run.totals(&daemon)?;
        assert_eq!(after.denied - before.denied, denied.len() as u64, "uid {uid}");
    }
    Ok(())
}

/// P2: programs set what they always set.
#[test]
fn sets_what_leads_nowhere() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peer = Peer::granted()?;
    let usual = [
        (Protocol::Tcp, SOL_SOCKET, libc::SO_REUSEADDR),
        (Protocol::Tcp, SOL_SOCKET, libc::SO_REUSEPORT),
        (Protocol::Tcp, SOL_SOCKET, libc::SO_KEEPALIVE),
        (Protocol::Udp, SOL_SOCKET, libc::SO_BROADCAST),
        (Protocol::Udp, SOL_SOCKET, libc::SO_RCVBUF),
        (Protocol::Tcp, IPPROTO_TCP, libc::TCP_NODELAY),
        (Protocol::Tcp, IPPROTO_TCP, libc::TCP_KEEPIDLE),
        (Protocol::Tcp, IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
        (Protocol::Tcp, IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
        (Protocol::Udp, IPPROTO_UDP, libc::UDP_GRO),
        (Protocol::Tcp, IPPROTO_IPV6, libc::IPV6_V6ONLY),
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        (Protocol::Udp, IPPROTO_IPV6, libc::IPV6_RECVERR),
        (Protocol::Tcp, IPPROTO_IPV6, libc::IPV6_TCLASS),
        (Protocol::Tcp, IPPROTO_IP, libc::IP_TOS),
        (Protocol::Udp, IPPROTO_IP, libc::IP_RECVERR),
    ];
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (protocol, level, option) in usual {
            let calls = vec![SOCKET.like(peer.v6(), protocol), SOCKET.set(level, option, &ONE)];
            assert_eq!(run.last_call(calls)?, 0, "uid {uid}: option {option} of {level}");
        }
    }
    Ok(())
}

fn carry(level: i32, kind: i32, data: Vec<u8>) -> Carry {
    Carry { level, kind, data }
}

/// P2: with an address and without one, alone and behind something harmless.
#[test]
fn nothing_travels_with_a_message_that_leads_elsewhere() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peer = Peer::granted()?;
    let class = carry(IPPROTO_IPV6, libc::IPV6_TCLASS, ONE.into());
    let denied = [
        (peer.v6(), vec![routing_header()]),
        (peer.v6(), vec![class.clone(), routing_header()]),
        // IPV6_2292RTHDR, IPV6_FLOWINFO
        (peer.v6(), vec![carry(IPPROTO_IPV6, 5, routing_header().data)]),
        (peer.v6(), vec![carry(IPPROTO_IPV6, 11, ONE.into())]),
        (peer.v6(), vec![carry(IPPROTO_IPV6, libc::IPV6_DSTOPTS, vec![0; 8])]),
        (peer.v6(), vec![carry(SOL_SOCKET, libc::SO_MARK, ONE.into())]),
        (peer.v4(), vec![source_route()]),
        (peer.v4(), vec![carry(IPPROTO_IP, libc::IP_TOS, ONE.into()), source_route()]),
        // By another device.
        (peer.v4(), vec![carry(IPPROTO_IP, libc::IP_PKTINFO, [&ONE[..], &[0; 8]].concat())]),
        (peer.v6(), vec![carry(IPPROTO_IPV6, libc::IPV6_PKTINFO, [&[0; 16], &ONE[..]].concat())]),
        // More than anybody sends.
        (peer.v6(), vec![class.clone(); 40]),
    ];
    for uid in USERS {
        let mut run = network(&daemon, uid)?;
        for (to, pieces) in &denied {
            let calls =
                vec![SOCKET.like(*to, Protocol::Udp), SOCKET.send_with(Some(*to), pieces.clone())];
            assert_eq!(run.last_call(calls)?, EPERM, "uid {uid}: {pieces:?}");
            let calls = vec![SOCKET.connect(*to), SOCKET.send_with(None, pieces.clone())];
            assert_eq!(run.last_call(calls)?, EPERM, "uid {uid}: {pieces:?}");
            peer.hears(0).with_context(|| format!("uid {uid}: {pieces:?}"))?;
        }
        for (to, pieces) in [
            (peer.v6(), vec![class.clone()]),
            (
                peer.v6(),
                vec![
                    class.clone(),
                    carry(IPPROTO_IPV6, libc::IPV6_HOPLIMIT, 9_i32.to_ne_bytes().into()),
                ],
            ),
            (peer.v4(), vec![carry(IPPROTO_IP, libc::IP_PKTINFO, vec![0; 12])]),
            (peer.v6(), vec![carry(IPPROTO_IPV6, libc::IPV6_PKTINFO, vec![0; 20])]),
            (peer.v4(), vec![carry(IPPROTO_IP, libc::IP_TTL, 9_i32.to_ne_bytes().into())]),
            (peer.v4(), vec![carry(IPPROTO_UDP, libc::UDP_SEGMENT, 8_u16.to_ne_bytes().into())]),
        ] {
            let calls =
                vec![SOCKET.like(to, Protocol::Udp), SOCKET.send_with(Some(to), pieces.clone())];
            assert_eq!(run.last_call(calls)?, 0, "uid {uid}: {pieces:?}");
            peer.hears(1).with_context(|| format!("uid {uid}: {pieces:?}"))?;
        }
    }
    Ok(())
}
