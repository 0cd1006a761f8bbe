//! Enforcement outlives the daemon.

use std::{collections::BTreeMap, fs, path::Path};

use agentid_tests::{
    attack::Attempt,
    harness::{
        Attacker, Daemon, Run,
        scene::{PINS, USERS},
        view::RunView,
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Result, bail};
use libc::{EACCES, EPERM};

const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
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

/// The folder of links, which there is one of: that of the only set of programs.
fn set() -> Result<String> {
    let names = fs::read_dir(PINS)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.retain(|name| name.starts_with("links-"));
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => bail!("there are several sets of programs, or none: {names:?}"),
    }
}

/// P6: not one of the opens that go on all the time is let through, also where the successor brings programs of its own.
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
    let ends = [Daemon::kill9, Daemon::stop];
    // A successor of the same build keeps the programs, one of another build replaces them.
    let starts = [(Daemon::start_again as fn(&mut Daemon) -> _, true), (Daemon::start_anew, false)];
    for (kill, (start, keeps)) in ends.into_iter().zip(starts) {
        let old = set()?;
        runs.iter_mut().try_for_each(go_on)?;
        kill(&mut daemon)?;
        runs.iter_mut().try_for_each(go_on)?;
        start(&mut daemon)?;
        runs.iter_mut().try_for_each(go_on)?;
        same(&before, &daemon.ps()?);
        let new = set()?;
        assert_eq!(new == old, keeps, "{old} before, and now {new}");
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

/// P6: programs of the same build stay where they are, and those that are not whole are replaced.
#[test]
fn replaces_programs_that_are_not_whole() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut run = Run::of(&daemon, 1000)?;
    let mut outside = Attacker::outside(0)?;
    let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    let first = set()?;
    daemon.stop()?;
    daemon.start_again()?;
    assert_eq!(set()?, first, "the same build's programs are kept");

    let sysctl = Path::new(PINS).join(&first).join("sysctl");
    assert_eq!(outside.errno(&Attempt::Detach(sysctl))?, 0);
    let degraded = || Ok((daemon.status()?.posture == "degraded").then_some(()));
    wait::until("the posture says that a hook is gone", wait::SOON, degraded)?;
    daemon.stop()?;
    daemon.start_again()?;
    assert_ne!(set()?, first, "the programs were not replaced");
    let ftrace = Attempt::Write { path: FTRACE.into(), text: "0".into() };
    assert_eq!(outside.errno(&ftrace)?, EPERM, "the guard is back");
    assert_eq!(run.errno(&step)?, EACCES);
    assert_eq!(daemon.status()?.posture, "enforcing");
    Ok(())
}
