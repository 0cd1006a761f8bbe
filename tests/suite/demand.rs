//! What is on everybody's way is there only while it is needed: see also `ending`, for what comes with the end of a run.

use std::{
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        scene::{PINS, USERS},
        taken::socket_of,
        wait,
    },
    step::{Protocol, Step},
};
use anyhow::{Context as _, Result};

const NETWORK: [&str; 3] = ["socket_sendmsg", "skb_ingress", "skb_egress"];

/// Waits until all that looks at messages and packets is needed and attached, or neither, by the daemon and by the pins.
fn await_network(daemon: &Daemon, expected: bool) -> Result<()> {
    wait::until(&format!("the network is watched: {expected}"), wait::SOON, || {
        let status = daemon.status()?;
        assert_eq!(status.posture, "enforcing", "{:?}", status.why);
        let hooks = status.hooks.iter().filter(|hook| NETWORK.contains(&hook.name.as_str()));
        let standing: Vec<_> = hooks.map(|hook| (hook.needed, hook.attached)).collect();
        Ok((standing == [(expected, expected); NETWORK.len()]).then_some(()))
    })?;
    for name in NETWORK {
        assert_eq!(pinned(name)?, expected, "the pin of {name}");
    }
    Ok(())
}

/// Whether one of the folders of links holds this program's.
fn pinned(name: &str) -> Result<bool> {
    let mut found = false;
    for folder in fs::read_dir(PINS)? {
        let folder = folder?;
        let is_of_links = folder.file_name().to_string_lossy().starts_with("links-");
        found |= is_of_links && folder.path().join(name).exists();
    }
    Ok(found)
}

/// One that takes away at once what is not needed.
fn daemon() -> Result<Daemon> {
    let scene = Scene::new()?;
    scene.set("detach_after", Some("0s"))?;
    Daemon::start_in(scene)
}

/// One that the fixture's policy grants.
fn listener() -> Result<TcpListener> {
    let mut ports = 20_000_u16..30_000;
    let listener = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    listener.context("no port is free")
}

/// P4: a run that is over before the daemon has looked at it leaves its sockets watched.
#[test]
fn the_sockets_of_a_short_run_are_watched() -> Result<()> {
    /// The daemon looks once a second.
    const LOOKS: Duration = Duration::from_secs(3);
    let daemon = daemon()?;
    for uid in USERS {
        await_network(&daemon, false)?;
        let listener = listener()?;
        let mut run = Run::of(&daemon, uid)?;
        let call = Step::Call { to: listener.local_addr()?, protocol: Protocol::Tcp };
        assert_eq!(run.errno(&call)?, 0);
        let socket = socket_of(&run)?;
        run.finish()?;
        let end = Instant::now() + LOOKS;
        while Instant::now() < end {
            await_network(&daemon, true)?;
        }
        drop(socket);
    }
    await_network(&daemon, false)
}

/// P3, P4: messages and packets of the host are looked at while a run lives, and as long as somebody has a socket that one
/// has made; a daemon that dies leaves that as it is, and the next one takes it away when the need has gone.
#[test]
fn messages_and_packets_are_looked_at_only_while_a_run_or_its_socket_is_there() -> Result<()> {
    let mut daemon = daemon()?;
    await_network(&daemon, false)?;
    for uid in USERS {
        let listener = listener()?;
        let mut run = Run::of(&daemon, uid)?;
        await_network(&daemon, true)?;
        let call = Step::Call { to: listener.local_addr()?, protocol: Protocol::Tcp };
        assert_eq!(run.errno(&call)?, 0);
        let socket = socket_of(&run)?;
        daemon.kill9()?;
        daemon.start_again()?;
        await_network(&daemon, true)?;
        daemon.revoke(run.id())?;
        drop(run);
        let gone = || Ok(daemon.ps()?.is_empty().then_some(()));
        wait::until("the run is over", wait::SOON, gone)?;
        await_network(&daemon, true)?;
        daemon.kill9()?;
        daemon.start_again()?;
        await_network(&daemon, true)?;
        drop(socket);
        await_network(&daemon, false)?;
    }
    Ok(())
}

/// P8: what a run has needed is there a while longer, so that the next one is launched sooner, and goes then.
#[test]
fn what_a_run_has_needed_goes_when_no_other_came() -> Result<()> {
    /// Seconds.
    const LINGERS: u64 = 4;
    let scene = Scene::new()?;
    scene.set("detach_after", Some(&format!("{LINGERS}s")))?;
    let daemon = Daemon::start_in(scene)?;
    await_network(&daemon, false)?;
    Run::of(&daemon, 0)?.finish()?;
    let over = Instant::now();
    let lingers = || {
        let status = daemon.status()?;
        let hook = status.hooks.iter().find(|hook| hook.name == NETWORK[0]);
        let hook = hook.context("the hook is not told of")?;
        assert!(hook.attached || over.elapsed() >= Duration::from_secs(LINGERS));
        Ok((!hook.needed && hook.attached).then_some(()))
    };
    wait::until("it is not needed any more, and attached", wait::SOON, lingers)?;
    await_network(&daemon, false)?;
    assert!(over.elapsed() >= Duration::from_secs(LINGERS));
    Ok(())
}
