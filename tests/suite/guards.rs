//! The daemon and its canary are out of a run's reach: threat A-5.

use std::fs;

use agentid_tests::{
    attack::Attempt,
    harness::{adjust::canary_of, wait},
};
use anyhow::{Context as _, Result};

use crate::stage::{Life, Stage};

/// P6: neither root nor the user in a run kills, stops, traces or opens up the daemon or its canary.
#[test]
fn a_run_does_not_reach_the_daemon() -> Result<()> {
    let mut stage = Stage::new()?;
    let daemon = stage.daemon.tgid().context("the daemon is not running")?;
    let targets = [daemon, canary_of(daemon)?];
    for target in targets {
        for attempt in upon_process(target) {
            for attacker in [&mut stage.root, &mut stage.user] {
                let errno = attacker.errno(&attempt)?;
                assert_eq!(errno, libc::EPERM, "{attempt:?}");
            }
            stage.check_held(&format!("{attempt:?}"))?;
        }
    }
    assert_eq!(stage.daemon.status()?.posture, "enforcing");
    assert_eq!(canary_of(daemon)?, targets[1], "the canary is another one");
    // What root does outside of any run is root's business.
    let kill = Attempt::Kill { tgid: daemon, signal: 0 };
    assert_eq!(stage.outside.errno(&kill)?, 0);
    assert_eq!(stage.outside.errno(&Attempt::Trace(daemon))?, 0);
    Ok(())
}

/// P6: SIGKILL to the daemon by root outside of any run works, and loosens nothing.
#[test]
fn a_killed_daemon_leaves_its_runs_held() -> Result<()> {
    let mut stage = Stage::new()?;
    let daemon = stage.daemon.tgid().context("the daemon is not running")?;
    let canary = canary_of(daemon)?;
    stage.in_life_and_death(|stage, life| {
        stage.check_held(&format!("daemon {life:?}"))?;
        let gone = stage.outside.errno(&Attempt::Kill { tgid: daemon, signal: 0 })?;
        assert_eq!(gone, if life == Life::Alive { 0 } else { libc::ESRCH });
        Ok(())
    })?;
    // The canary ends with its daemon.
    let canary = format!("/proc/{canary}");
    wait::until("the canary is gone", wait::SOON, || Ok((!fs::exists(&canary)?).then_some(())))?;
    stage.daemon.start_again()?;
    stage.check_held("another daemon")?;
    assert_eq!(stage.daemon.status()?.posture, "enforcing");
    Ok(())
}

fn upon_process(tgid: u32) -> Vec<Attempt> {
    vec![
        Attempt::Kill { tgid, signal: libc::SIGSTOP },
        Attempt::PidfdKill { tgid, signal: libc::SIGSTOP },
        Attempt::Trace(tgid),
        Attempt::ReadMemory(tgid),
        Attempt::TakeDescriptor(tgid),
        Attempt::Kill { tgid, signal: libc::SIGKILL },
        Attempt::PidfdKill { tgid, signal: libc::SIGKILL },
    ]
}
