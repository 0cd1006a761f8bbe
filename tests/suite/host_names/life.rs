//! How long what was answered holds.

use std::{fs, net::TcpListener};

use agentid_tests::{
    harness::{Daemon, Upstream, scene::USERS, wait},
    step::{Outcome, Protocol, Question, Step, Transport},
};
use anyhow::Result;
use libc::{EACCES, ECONNREFUSED, EPERM};

use super::{NAME_THAT_IS_NONE, NAMES, daemon, named, policy, question, reach, records, resolve};

/// P2: an address can be used until its time and no longer, unless the run asks again. What stands then goes on.
#[test]
fn an_address_ends_with_its_time() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "pin_at_least = \"2s\"\npin_at_most = \"2s\"\n", &[])?;
    let _peer = TcpListener::bind("127.1.0.1:20000")?;
    let mut run = named(&daemon, 1000)?;
    let call = Step::Call { to: "127.1.0.1:20000".parse()?, protocol: Protocol::Tcp };
    for _ in 0..2 {
        // The time may be over before the call.
        wait::until("it is called in time", wait::SOON, || {
            let outcome = run.ask(&Step::Resolve(question("granted.example")))?;
            let Outcome::Named { longest, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(longest, Some(2), "the run is told to ask again in time");
            match run.errno(&call)? {
                0 => Ok(Some(())),
                EACCES => Ok(None),
                errno => anyhow::bail!("the call gave {errno}"),
            }
        })?;
        let address = Step::Connect { to: "127.1.0.1:20000".parse()?, protocol: Protocol::Udp };
        wait::until("the address has come to its time", wait::SOON, || {
            Ok((run.errno(&address)? == EACCES).then_some(()))
        })?;
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EACCES);
        assert_eq!(run.errno(&Step::Say)?, 0, "a conversation that stands goes on");
        assert!(!daemon.show_text(run.id())?.contains("granted.example"));
    }
    Ok(())
}

/// Elements of the table of pinned addresses.
fn pins(daemon: &Daemon) -> Result<u64> {
    let maps = daemon.status()?.maps;
    Ok(maps.iter().find(|map| map.name == "PINS").map_or(0, |map| map.entries))
}

/// P4: who is revoked or suspended is told nothing, and what names have led to is denied.
#[test]
fn names_end_with_the_run() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peer = TcpListener::bind("127.1.0.1:20000")?;
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        resolve(&mut run, question("granted.example"))?;
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0);
        daemon.revoke(run.id())?;
        for transport in Transport::ALL {
            let asked = Step::Resolve(Question { transport, ..question("granted.example") });
            assert_eq!(run.errno(&asked)?, EPERM, "uid {uid}: {transport:?}");
        }
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EPERM);
    }
    wait::until("nothing is left of their names", wait::SOON, || {
        Ok((pins(&daemon)? == 0).then_some(()))
    })?;
    Ok(())
}

/// P9: another version of the policy keeps what it grants as well, and takes what it does not.
#[test]
fn names_follow_the_policy() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peers = [TcpListener::bind("127.1.0.1:20000")?, TcpListener::bind("127.1.0.2:20000")?];
    let mut run = named(&daemon, 1000)?;
    resolve(&mut run, question("granted.example"))?;
    resolve(&mut run, question("a.below.example"))?;
    let first = run.view(&daemon)?.policy;
    let without = policy("named", NAMES).replace("\"granted.example:20000-29999\", ", "");
    fs::write(daemon.scene().path().join("policies/named.toml"), without)?;
    daemon.reload()?;
    wait::until("the new version is in force", wait::SOON, || {
        Ok((run.view(&daemon)?.policy != first).then_some(()))
    })?;
    assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EACCES);
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, 0);
    assert_eq!(resolve(&mut run, question("granted.example"))?.0, NAME_THAT_IS_NONE);
    Ok(())
}

/// P6: without the daemon no name is told, what was pinned stays, and nothing opens up; the next daemon goes on.
#[test]
fn names_outlive_the_daemon() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let mut daemon = daemon(&upstream, "", &[])?;
    let _peers = [TcpListener::bind("127.1.0.1:20000")?, TcpListener::bind("127.1.0.2:20000")?];
    let mut run = named(&daemon, 1000)?;
    resolve(&mut run, question("granted.example"))?;
    let open = Step::Call { to: "192.0.2.53:53".parse()?, protocol: Protocol::Udp };
    assert_eq!(run.errno(&open)?, 0);
    daemon.kill9()?;
    for transport in [Transport::Udp, Transport::Tcp] {
        let asked = Step::Resolve(Question { transport, ..question("a.below.example") });
        assert_eq!(run.errno(&asked)?, ECONNREFUSED, "{transport:?}");
    }
    assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0);
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, EACCES);
    daemon.start_again()?;
    assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0);
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, EACCES);
    resolve(&mut run, question("a.below.example"))?;
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, 0);
    let shown = daemon.show_text(run.id())?;
    assert!(shown.contains("granted.example is 127.1.0.1 until"), "{shown}");
    Ok(())
}
