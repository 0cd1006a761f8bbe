//! Enforcement outlives the daemon.

use std::collections::BTreeMap;

use agentid_tests::{
    harness::{Daemon, Run, scene::USERS, view::RunView, wait},
    step::{Open, Outcome, Step},
};
use anyhow::{Result, bail};
use libc::{EACCES, EPERM};

/// Opens that must go by before the next thing happens.
const MANY: u64 = 300;
/// Deadlines are told in milliseconds of another clock than the one that they are kept in.
const SLACK_MS: u64 = 20;

fn count(run: &mut Run, step: &Step) -> Result<BTreeMap<i32, u64>> {
    match run.ask(step)? {
        Outcome::Tally(tally) => Ok(tally),
        other => bail!("{step:?} gave {other:?}"),
    }
}

/// Waits until the loop has gone round some more.
fn go_on(run: &mut Run) -> Result<()> {
    let mut sum = || Ok::<u64, anyhow::Error>(count(run, &Step::Count)?.values().sum());
    let before = sum()?;
    let more = || Ok((sum()? > before + MANY).then_some(()));
    wait::until("the loop goes on", wait::SOON, more)
}

fn same(before: &[RunView], after: &[RunView]) {
    assert_eq!(before.len(), after.len());
    for (one, other) in before.iter().zip(after) {
        assert_eq!((&one.id, &one.phase, one.tasks), (&other.id, &other.phase, other.tasks));
        assert!(one.deadline_ms.abs_diff(other.deadline_ms) <= SLACK_MS, "{one:?} {other:?}");
    }
}

/// P6: not one of the opens that go on all the time is let through.
#[test]
fn denies_before_while_and_after_the_daemon_is_killed() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let (granted, denied) = (daemon.scene().granted(), daemon.scene().denied());
    let mut runs =
        USERS.into_iter().map(|uid| Run::of(&daemon, uid)).collect::<Result<Vec<_>>>()?;
    for run in &mut runs {
        run.ask(&Step::BeginLoop(vec![denied.clone()]))?;
    }
    let before = daemon.ps()?;
    assert_eq!(before.iter().map(|view| view.tasks).collect::<Vec<_>>(), [2, 2]);
    for kill in [Daemon::kill9, Daemon::stop] {
        runs.iter_mut().try_for_each(go_on)?;
        kill(&mut daemon)?;
        runs.iter_mut().try_for_each(go_on)?;
        daemon.start_again()?;
        runs.iter_mut().try_for_each(go_on)?;
        same(&before, &daemon.ps()?);
    }
    for run in &mut runs {
        let tally = count(run, &Step::EndLoop)?;
        assert!(tally.keys().eq([&EACCES]), "{tally:?}");
        let step = Step::Open { path: granted.clone(), how: Open::Read };
        assert_eq!(run.errno(&step)?, 0, "what was granted is");
        daemon.revoke(run.id())?;
        assert_eq!(run.errno(&step)?, EPERM, "the new daemon can revoke what the old one launched");
    }
    Ok(())
}
