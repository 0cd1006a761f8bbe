//! Policies are read again while runs live.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
};

use agentid_tests::{
    harness::{
        Daemon, Peer, Run, Scene,
        run::Terms,
        scene::{USER, USERS},
        settle::settle,
        taken::socket_of,
        wait,
    },
    step::{Open, Outcome, Protocol, Step},
};
use anyhow::{Context as _, Result, bail, ensure};
use libc::{EACCES, EAGAIN, ECONNRESET};
use nix::sys::socket::{setsockopt, sockopt};

fn digest(daemon: &Daemon) -> Result<String> {
    let policies = daemon.status()?.policies;
    let found = policies.into_iter().find(|policy| policy.name == "fixture");
    Ok(found.context("the policy is not offered")?.digest)
}

/// What new runs of `fixture` are to get from here on. Returns when they do, and those that live have been seen to.
fn write(daemon: &Daemon, text: &str) -> Result<()> {
    let before = digest(daemon)?;
    fs::write(daemon.scene().path().join("policies/fixture.toml"), text)?;
    daemon.reload()?;
    let changed = || Ok((digest(daemon)? != before).then_some(()));
    wait::until("the new version is offered", wait::SOON, changed)
}

/// P9: new runs and those that live get the new version, and with a mistake anywhere all stays as it was.
#[test]
fn takes_all_policies_or_none() -> Result<()> {
    let daemon = Daemon::start()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Write };
    let file = daemon.scene().path().join("policies/fixture.toml");
    let mut before =
        USERS.into_iter().map(|uid| Run::of(&daemon, uid)).collect::<Result<Vec<_>>>()?;
    let first = digest(&daemon)?;
    let narrowed = Scene::POLICY.replace("\"read\", \"write\"", "\"read\"");

    fs::write(&file, narrowed.replace("ttl = ", "tll = "))?;
    daemon.reload()?;
    let told =
        || Ok(Some(daemon.status()?.policy_mistakes).filter(|mistakes| !mistakes.is_empty()));
    let mistakes = wait::until("the mistake is told", wait::SOON, told)?;
    assert!(mistakes.iter().any(|it| it.contains("fixture.toml") && it.contains("tll")));
    assert_eq!(digest(&daemon)?, first);
    let mut between = Run::of(&daemon, 1000)?;
    assert_eq!(between.errno(&step)?, 0);

    fs::write(&file, &narrowed)?;
    daemon.reload()?;
    let changed = || Ok((digest(&daemon)? != first).then_some(()));
    wait::until("the new version is offered", wait::SOON, changed)?;
    assert!(daemon.status()?.policy_mistakes.is_empty());
    for uid in USERS {
        let mut after = Run::launch(&daemon, &Terms { uid, ..Terms::default() })?;
        assert_eq!(after.errno(&step)?, EACCES, "uid {uid}: the new version");
    }
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for run in before.iter_mut().chain([&mut between]) {
        assert_eq!(run.errno(&step)?, EACCES, "what lives is bound to the new version");
        assert_eq!(run.errno(&read)?, 0);
        assert!(daemon.story(run.id())?.contains("policy renewed"));
    }
    let retired = || Ok(daemon.log().contains("bound to this version any more").then_some(()));
    wait::until("the old version is taken back", wait::SOON, retired)?;
    let mut after = Run::of(&daemon, 1000)?;
    assert_eq!(after.errno(&step)?, EACCES);
    assert_eq!(after.errno(&read)?, 0);
    Ok(())
}

/// P2, P9: a run that cannot have the new version is held by the one that it has, and that is told.
#[test]
fn a_run_that_does_not_fit_the_new_version_keeps_its_own() -> Result<()> {
    let daemon = Daemon::start()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Write };
    let denied = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    let mut run = Run::of(&daemon, 1000)?;
    let first = run.view(&daemon)?.policy;
    let other = Scene::POLICY
        .replace("params = [\"workspace\"]", "params = [\"other\"]")
        .replace("${workspace}", "${other}");
    write(&daemon, &other)?;
    assert_eq!(run.errno(&step)?, 0);
    assert_eq!(run.errno(&denied)?, EACCES);
    assert_eq!(run.view(&daemon)?.policy, first);
    let story = daemon.story(run.id())?;
    assert!(story.contains("policy stays") && story.contains("workspace"), "{story}");
    Ok(())
}

/// P2, P9: a socket that has its peer is judged by the new version at its next message, whatever was found of it before.
#[test]
fn conversations_are_held_to_the_new_version() -> Result<()> {
    let daemon = Daemon::start()?;
    let peer = Peer::granted()?;
    let ports = Scene::POLICY.replace("20000-29999", "29999");
    assert_ne!(ports, Scene::POLICY);
    for uid in USERS {
        let ends = [peer.v4(), peer.v6()].into_iter().flat_map(|to| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| Step::Call { to, protocol })
        });
        let mut runs = Vec::new();
        for call in ends {
            let mut run = Run::of(&daemon, uid)?;
            assert_eq!(run.errno(&call)?, 0, "uid {uid}: {call:?}");
            assert_eq!((run.errno(&Step::Say)?, run.errno(&Step::Say)?), (0, 0), "{call:?}");
            runs.push((call, run));
        }
        for (version, errno) in [(ports.as_str(), EACCES), (Scene::POLICY, 0)] {
            write(&daemon, version)?;
            for (call, run) in &mut runs {
                for _ in 0..2 {
                    assert_eq!(run.errno(&Step::Say)?, errno, "uid {uid}: {call:?}");
                }
            }
        }
    }
    Ok(())
}

/// Where `fixture` lets its runs listen.
const ON: &str = "on = [\"127.0.0.1:20000-29999\", \"[::1]:20000-29999\"]";
/// The same for listeners at every address.
const ON_ANY: &str = "on = [\"0.0.0.0:20000-29999\", \"[::]:20000-29999\"]";
const ON_BOTH: &str = "on = [\"127.0.0.1:20000-29999\", \"[::1]:20000-29999\", \
                       \"0.0.0.0:20000-29999\", \"[::]:20000-29999\"]";
const ON_NONE: &str = "on = [\"127.0.0.1:29999\"]";

/// A connection to a run that listens at one of its addresses.
fn calling(run: &mut Run, at: IpAddr, by: IpAddr) -> Result<TcpStream> {
    for port in 20_000..29_999 {
        match run.errno(&Step::Answer((at, port).into()))? {
            0 => {}
            libc::EADDRINUSE => continue,
            errno => bail!("listening at {at} failed with {errno}"),
        }
        let stream = TcpStream::connect((by, port))?;
        ensure!(run.errno(&Step::PickUp)? == 0, "nobody was there");
        stream.set_read_timeout(Some(wait::SOON))?;
        return Ok(stream);
    }
    bail!("no port is free")
}

/// P2, P9: so is one that was accepted: as an accept where it was accepted is, also where that was at every address. What is
/// denied does not arrive.
#[test]
fn accepted_conversations_are_held_to_the_new_version() -> Result<()> {
    let daemon = Daemon::start()?;
    let version = |on: &str| Scene::POLICY.replace(ON, on);
    assert_ne!(version(ON_NONE), Scene::POLICY);
    write(&daemon, &version(ON_BOTH))?;
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let (any_v4, any_v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let mut calls = Vec::new();
    for (at, by) in [(v4, v4), (v6, v6), (any_v4, v4), (any_v6, v4), (any_v6, v6)] {
        let mut run = Run::of(&daemon, USER)?;
        let stream = calling(&mut run, at, by)?;
        calls.push((at, run, stream));
    }
    let mut said = 0;
    for (on, here, anywhere) in [
        (ON_BOTH, 0, 0),
        (ON, 0, EACCES),
        (ON_ANY, EACCES, 0),
        (ON_NONE, EACCES, EACCES),
        (ON_BOTH, 0, 0),
    ] {
        // The first is in force already.
        if version(on) != fs::read_to_string(daemon.scene().path().join("policies/fixture.toml"))? {
            write(&daemon, &version(on))?;
        }
        for (at, run, stream) in &mut calls {
            let errno = if at.is_unspecified() { anywhere } else { here };
            for _ in 0..2 {
                assert_eq!(run.errno(&Step::Say)?, errno, "{at}: {on}");
            }
            if errno == 0 {
                said += 2;
                stream.read_exact(&mut [0; 2]).with_context(|| format!("{at}: {on}"))?;
            }
        }
    }
    assert_eq!(said, 2 * (5 + 2 + 3 + 5));
    settle()?;
    for (at, _, stream) in &calls {
        stream.set_nonblocking(true)?;
        let left = stream.peek(&mut [0]).map_err(|error| error.kind());
        assert_eq!(left, Err(ErrorKind::WouldBlock), "{at}: more has come than was said");
    }
    Ok(())
}

/// What has come to a socket that was taken from a run, as nobody is asked about it there.
fn read(socket: &mut TcpStream) -> Result<usize> {
    let mut total = 0;
    loop {
        match socket.read(&mut [0; 4096]) {
            Ok(0) => bail!("the connection has ended after {total}"),
            Ok(length) => total += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Conversations with a run, which it has begun or taken.
fn conversations(
    daemon: &Daemon,
    uid: u32,
    listener: &TcpListener,
) -> Result<Vec<(Run, TcpStream)>> {
    let mut called = Run::of(daemon, uid)?;
    let call = Step::Call { to: listener.local_addr()?, protocol: Protocol::Tcp };
    ensure!(called.errno(&call)? == 0, "{call:?} failed");
    let (by_run, _) = listener.accept()?;
    let mut taken = Run::of(daemon, uid)?;
    let at = listener.local_addr()?.ip();
    let to_run = calling(&mut taken, at, at)?;
    Ok(vec![(called, by_run), (taken, to_run)])
}

/// P2, P9: nor is anything heard that comes after the change, on connections that the run has made and on those that it has
/// accepted, while the other end goes on sending. It comes when the grant does; that the other end has ended is told at once.
#[test]
fn nothing_is_heard_that_the_new_version_does_not_grant() -> Result<()> {
    let daemon = Daemon::start()?;
    let none = Scene::POLICY.replace("20000-29999", "29999");
    let listeners = [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)]
        .map(|at| (20_000..29_999).find_map(|port| TcpListener::bind((at, port)).ok()));
    for uid in USERS {
        let mut all = Vec::new();
        for listener in &listeners {
            let listener = listener.as_ref().context("no port is free")?;
            all.extend(conversations(&daemon, uid, listener)?);
        }
        for (mut run, mut stream) in all {
            let what = format!("uid {uid}: {stream:?}");
            let mut socket = TcpStream::from(socket_of(&run)?);
            socket.set_nonblocking(true)?;
            stream.write_all(b"x")?;
            settle()?;
            assert_eq!(read(&mut socket)?, 1, "{what}");
            write(&daemon, &none)?;
            let denied = run.totals(&daemon)?.denied;
            for _ in 0..100 {
                stream.write_all(b"x")?;
            }
            settle()?;
            assert_eq!(run.errno(&Step::Hear)?, EAGAIN, "{what}");
            assert_eq!(read(&mut socket)?, 0, "{what}");
            assert!(run.totals(&daemon)?.denied > denied, "{what}: no packet was dropped");
            write(&daemon, Scene::POLICY)?;
            let mut heard = 0;
            wait::until("all of it comes", wait::SOON, || {
                heard += read(&mut socket)?;
                Ok((heard == 100).then_some(()))
            })
            .with_context(|| format!("{what}: {heard}"))?;
            write(&daemon, &none)?;
            reset(stream)?;
            wait::until("the end is heard", wait::SOON, || {
                Ok((run.errno(&Step::Hear)? == ECONNRESET).then_some(()))
            })
            .with_context(|| what)?;
            write(&daemon, Scene::POLICY)?;
        }
    }
    Ok(())
}

/// Ends a connection by a reset.
fn reset(stream: TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger)?;
    drop(stream);
    Ok(())
}

/// P2, P9: nor a datagram of a peer that is not granted any more.
#[test]
fn no_datagram_is_heard_that_the_new_version_does_not_grant() -> Result<()> {
    let daemon = Daemon::start()?;
    let none = Scene::POLICY.replace("20000-29999", "29999");
    for at in [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let mut run = Run::of(&daemon, USER)?;
        let peer = (20_000..29_999).find_map(|port| UdpSocket::bind((at, port)).ok());
        let peer = peer.context("no port is free")?;
        let call = Step::Call { to: peer.local_addr()?, protocol: Protocol::Udp };
        assert_eq!((run.errno(&call)?, run.errno(&Step::Say)?), (0, 0), "{at}");
        let (_, from) = peer.recv_from(&mut [0; 8])?;
        write(&daemon, &none)?;
        peer.send_to(b"x", from)?;
        settle()?;
        assert_eq!(run.errno(&Step::Hear)?, EAGAIN, "{at}");
        write(&daemon, Scene::POLICY)?;
        peer.send_to(b"x", from)?;
        settle()?;
        assert_eq!(run.errno(&Step::Hear)?, 0, "{at}");
    }
    Ok(())
}

/// P2, P9: while one version after another comes into force, and the daemon is started again with yet another, what all of
/// them deny is denied and what all of them grant is granted.
#[test]
fn versions_change_under_load() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let (granted, denied) = (daemon.scene().granted(), daemon.scene().denied());
    let mut runs =
        USERS.into_iter().map(|uid| Run::of(&daemon, uid)).collect::<Result<Vec<_>>>()?;
    for run in &mut runs {
        run.ask(&Step::BeginLoop(vec![granted.clone(), denied.clone()]))?;
    }
    for version in 0..4 {
        write(&daemon, &format!("{}# {version}", Scene::POLICY))?;
    }
    daemon.stop()?;
    let narrowed = Scene::POLICY.replace("\"read\", \"write\"", "\"read\"");
    fs::write(daemon.scene().path().join("policies/fixture.toml"), narrowed)?;
    daemon.start_again()?;
    let step = Step::Open { path: granted, how: Open::Write };
    for run in &mut runs {
        let Outcome::Tally(tally) = run.ask(&Step::EndLoop)? else { panic!("no tally") };
        assert!(tally.keys().eq([&0, &EACCES]), "{tally:?}");
        assert_eq!(run.errno(&step)?, EACCES, "a start is a reload");
    }
    Ok(())
}
