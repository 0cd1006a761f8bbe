//! `agentid show` tells which sockets a run has made.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use agentid_tests::{
    harness::{Daemon, Run, scene::USERS, view::SocketView},
    step::{Protocol, Step},
};
use anyhow::{Context as _, Result, anyhow};

/// Binds to a port of a loopback address that the fixture's policy grants.
fn free<T>(family: usize, bind: impl Fn(SocketAddr) -> std::io::Result<T>) -> Result<T> {
    let place = |port| {
        let places: [SocketAddr; 2] =
            [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        places[family]
    };
    (20_000_u16..30_000).find_map(|port| bind(place(port)).ok()).context("no port is free")
}

fn of_protocol(daemon: &Daemon, run: &Run, protocol: &str) -> Result<Vec<SocketView>> {
    let sockets = run.view(daemon)?.sockets;
    Ok(sockets.into_iter().filter(|socket| socket.protocol == protocol).collect())
}

/// The only socket on which a run serves others. One that it has closed may be there for a moment.
fn served(daemon: &Daemon, run: &Run) -> Result<[SocketView; 1]> {
    let mut sockets = of_protocol(daemon, run, "tcp")?;
    sockets.retain(|socket| socket.serves && socket.state != "close");
    sockets.try_into().map_err(|sockets| anyhow!("{sockets:?} are not one socket"))
}

/// P7: whom a run talks to, and whom it serves, is shown while the sockets are there, and no other run's.
#[test]
fn show_tells_whom_a_run_talks_to() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let other = Run::of(&daemon, uid)?;
        for family in [0, 1] {
            let mut run = Run::of(&daemon, uid)?;
            let listener = free(family, TcpListener::bind)?;
            let to = listener.local_addr()?;
            assert_eq!(run.errno(&Step::Call { to, protocol: Protocol::Tcp })?, 0);
            let called = of_protocol(&daemon, &run, "tcp")?;
            let [call] = called.as_slice() else { panic!("{called:?}") };
            assert_eq!(call.peer.as_deref(), Some(to.to_string().as_str()));
            assert_eq!((call.state.as_str(), call.serves), ("established", false));

            let receiver = free(family, UdpSocket::bind)?;
            let to = receiver.local_addr()?;
            assert_eq!(run.errno(&Step::Call { to, protocol: Protocol::Udp })?, 0);
            let sent = of_protocol(&daemon, &run, "udp")?;
            let [sent] = sent.as_slice() else { panic!("{sent:?}") };
            assert_eq!(sent.peer.as_deref(), Some(to.to_string().as_str()));
            // The call before was given up for this one; it may wait that the other end hears of it.
            let called = of_protocol(&daemon, &run, "tcp")?;
            assert!(called.iter().all(|socket| socket.state != "established"), "{called:?}");

            let at = free(family, TcpListener::bind)?.local_addr()?;
            assert_eq!(run.errno(&Step::Answer(at))?, 0);
            let [listener] = served(&daemon, &run)?;
            assert_eq!((listener.state.as_str(), listener.own), ("listen", Some(at.to_string())));
            let client = TcpStream::connect(at)?;
            assert_eq!(run.errno(&Step::PickUp)?, 0);
            let client = client.local_addr()?.to_string();
            let [accepted] = served(&daemon, &run)?;
            assert_eq!(
                (accepted.state.as_str(), accepted.own),
                ("established", Some(at.to_string()))
            );
            assert_eq!(accepted.peer.as_ref(), Some(&client));

            assert_eq!(other.view(&daemon)?.sockets, [], "the other run has none");
            let text = daemon.show_text(run.id())?;
            assert!(text.contains(&format!("tcp {at} <- {client} established")), "{text}");
            run.finish()?;
        }
    }
    Ok(())
}
