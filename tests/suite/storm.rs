//! Many tasks at once.

use std::{collections::BTreeMap, time::Duration};

use agentid_tests::{
    harness::{Daemon, Run, run::Terms, scale, scene::USERS, wait},
    step::{Outcome, Step},
};
use anyhow::{Result, bail};
use libc::{EACCES, EPERM};

/// `AGENTID_TASKS` of `cargo xtask test` sets another number.
const TASKS: usize = 10_000;
/// Enough for a storm to be revoked in.
const SOME: u32 = 10_000;
/// The probe's own threads, from which it starts the others.
const THREADS: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(1100);
/// A storm of another size may take so long.
const EACH: Duration = Duration::from_millis(40);
/// How the probe says that a task could not be started because of EPERM.
const NOT_STARTED: i32 = EPERM - 1000;

fn tally(outcome: Outcome) -> Result<BTreeMap<i32, u64>> {
    match outcome {
        Outcome::Tally(tally) => Ok(tally),
        other => bail!("the storm gave {other:?}"),
    }
}

/// P1: each of them is denied what the run is denied, and counted while it lives.
#[test]
fn leaves_no_task_untagged_and_the_count_exact() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = Run::of(&daemon, 1000)?;
    let before = run.totals(&daemon)?;
    let tasks = u32::try_from(scale::asked("tasks", TASKS)?)?;
    let storm = Step::Storm { tasks, path: daemon.scene().denied() };
    let outcome = tally(run.ask_within(&storm, PATIENCE.max(EACH * tasks))?)?;
    let count = |errno: i32| outcome.get(&errno).copied().unwrap_or_default();
    // Newer kernels have no memory for a tag or a walk while another processor holds a lock of theirs: a fault, by which
    // an open is refused and a task is not started.
    let (held, refused, unborn) = (count(EACCES), count(EPERM), count(NOT_STARTED));
    assert_eq!(held + refused + unborn, u64::from(tasks), "{outcome:?}");
    assert!(refused + unborn <= u64::from(tasks / 1000), "{outcome:?}");
    let one = || Ok((run.view(&daemon)?.tasks == 1).then_some(()));
    wait::until("the probe is alone", wait::SOON, one)?;
    let after = run.totals(&daemon)?;
    assert_eq!(after.started - before.started, u64::from(tasks) + THREADS - unborn);
    assert_eq!(after.faults - before.faults, refused + unborn, "{outcome:?}");
    assert!(after.denied - before.denied >= held, "{after:?}");
    Ok(())
}

/// Waits until a storm is well under way.
fn under_way(daemon: &Daemon, run: &Run) -> Result<()> {
    let going = || Ok((run.totals(daemon)?.started > 1000).then_some(()));
    wait::until("the storm is under way", PATIENCE, going)
}

/// P1, P4: a task is started before the revocation and tagged, or it is not started.
#[test]
fn starts_nothing_after_revoke() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        run.say(&Step::Storm { tasks: SOME, path: daemon.scene().granted() })?;
        under_way(&daemon, &run)?;
        daemon.revoke(run.id())?;
        let started = run.totals(&daemon)?.started;
        let outcome = tally(run.answer(PATIENCE)?)?;
        assert!(outcome.keys().all(|errno| [0, EPERM, NOT_STARTED].contains(errno)), "{outcome:?}");
        assert!(outcome.get(&NOT_STARTED).is_some_and(|times| *times > 0), "{outcome:?}");
        let last = run.totals(&daemon)?.started;
        // Each thread may have been about to start one when the run ended.
        assert!(last - started <= THREADS, "{started} and {last} tasks");
        let begun = outcome.iter().filter(|(errno, _)| **errno != NOT_STARTED);
        let begun: u64 = begun.map(|(_, times)| times).sum();
        assert_eq!(last, 1 + THREADS + begun, "{outcome:?}");
        let one = || Ok((run.view(&daemon)?.tasks == 1).then_some(()));
        wait::until("the probe is alone", wait::SOON, one)?;
    }
    Ok(())
}

/// P4: a tree that grows as fast as it can does not outrun the stop.
#[test]
fn kills_a_tree_that_goes_on_growing() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let terms = Terms { policy: "killed", uid, ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        run.say(&Step::Storm { tasks: SOME, path: daemon.scene().granted() })?;
        under_way(&daemon, &run)?;
        daemon.revoke_and_kill(run.id())?;
        assert!(!run.await_end()?.success());
    }
    Ok(())
}
