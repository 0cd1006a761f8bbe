//! Policies are read again while runs live.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
};

use agentid_tests::{
    harness::{
        Daemon, Peer, Run, Scene,
        run::Terms,
        scene::{USER, USERS},
        settle::settle,
        wait,
    },
    step::{Open, Outcome, Protocol, Step},
};
use anyhow::{Context as _, Result, bail, ensure};
use libc::EACCES;

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
