//! Peers are reached only as granted.

use std::net::SocketAddr;

use agentid_tests::{
    harness::{Daemon, Peer, Run, scene::USERS},
    step::{Protocol, Step},
};
use anyhow::Result;
use libc::EACCES;

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// P2: IPv4, IPv6 and IPv4 in IPv6 alike, by TCP and by UDP.
#[test]
fn connects_to_what_is_granted_and_nothing_else() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for (peer, errno) in [(&granted, 0), (&denied, EACCES)] {
            for to in peer.addresses() {
                for protocol in PROTOCOLS {
                    let step = Step::Connect { to, protocol };
                    assert_eq!(run.errno(&step)?, errno, "uid {uid}: {step:?}");
                }
            }
        }
    }
    Ok(())
}

/// P2: the unspecified address leads to loopback without being granted.
#[test]
fn denies_the_unspecified_address() -> Result<()> {
    let daemon = Daemon::shared()?;
    let peer = Peer::granted()?;
    let mut run = Run::of(&daemon, 0)?;
    for mut to in [peer.v4(), peer.v6()] {
        to.set_ip(match to {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0_u16; 8].into(),
        });
        let step = Step::Connect { to, protocol: Protocol::Tcp };
        assert_eq!(run.errno(&step)?, EACCES, "{to}");
    }
    Ok(())
}
