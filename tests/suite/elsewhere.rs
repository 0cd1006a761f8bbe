//! Sockets of a run that its own processes do not have any more, and somebody else has.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::{USER, USERS},
        taken::socket_of,
        wait,
    },
    step::{Protocol, Step},
};
use anyhow::{Context as _, Result, ensure};

fn listener(family: usize) -> Result<TcpListener> {
    let places = |port| -> [SocketAddr; 2] {
        [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
    };
    (20_000..30_000)
        .find_map(|port| TcpListener::bind(places(port)[family]).ok())
        .context("no port is free")
}

/// A run's connection to us. It gives the one up that it had before.
fn called(run: &mut Run, listener: &TcpListener) -> Result<TcpStream> {
    let step = Step::Call { to: listener.local_addr()?, protocol: Protocol::Tcp };
    ensure!(run.errno(&step)? == 0, "{step:?} failed");
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(wait::SOON))?;
    Ok(stream)
}

/// A run's connection to us, of which we have both ends, and the run has another one instead.
fn passed_on(run: &mut Run, listener: &TcpListener) -> Result<(TcpStream, OwnedFd)> {
    let stream = called(run, listener)?;
    let socket = socket_of(run)?;
    called(run, listener)?;
    Ok((stream, socket))
}

/// That the other end was told, and has got nothing before.
pub(super) fn ends(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(wait::SOON))?;
    match stream.read(&mut [0; 8]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => Err(anyhow::anyhow!("no end is heard: {other:?}")),
    }
}

/// P4: whoever is at the other end hears of the end of a run, also where only somebody else has the run's socket, and nobody
/// else's connections are touched.
#[test]
fn the_other_end_hears_where_somebody_else_has_the_socket() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for policy in ["fixture", "killed"] {
            for family in [0, 1] {
                let what = format!("uid {uid}, {policy}, {family}");
                let listener = listener(family)?;
                let mut run = Run::launch(&daemon, &Terms { policy, uid, ..Terms::default() })?;
                let mut sibling = Run::of(&daemon, uid)?;
                let (stream, _socket) = passed_on(&mut run, &listener)?;
                let (mut siblings, other) = passed_on(&mut sibling, &listener)?;
                let mut own = TcpStream::connect(listener.local_addr()?)?;
                let (mut there, _) = listener.accept()?;
                daemon.revoke(run.id())?;
                ends(stream).with_context(|| what)?;
                TcpStream::from(other).write_all(b"x")?;
                siblings.read_exact(&mut [0])?;
                own.write_all(b"x")?;
                there.read_exact(&mut [0])?;
            }
        }
    }
    Ok(())
}

/// P4: so does he where the run has ended by itself, after the time that is given to what it has sent.
#[test]
fn the_other_end_hears_of_a_run_that_has_ended_by_itself() -> Result<()> {
    let daemon = Daemon::shared()?;
    let listener = listener(0)?;
    let mut run = Run::of(&daemon, USER)?;
    let (stream, _socket) = passed_on(&mut run, &listener)?;
    run.finish()?;
    ends(stream)
}
