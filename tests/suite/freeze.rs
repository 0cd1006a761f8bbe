//! The tasks of a run stand still, and go on.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        cli::output,
        run::Terms,
        scene::{USER, USERS},
        view::{Changed, Revoked, RunView, Totals},
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Context as _, Result, bail};
use libc::EPERM;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Ticks of the processor's clock that something must have used before another is said to have used none.
const ENOUGH: u64 = 20;

/// The tasks of runs of `frozen` stand still after their end.
fn scene() -> Result<Scene> {
    let frozen = Scene::POLICY
        .replace("\"fixture\"", "\"frozen\"")
        .replace("on_end = \"deny\"", "on_end = \"freeze\"");
    assert!(frozen.contains("freeze"), "the fixture's policy has another on_end");
    Scene::with(&[("frozen", &frozen)])
}

fn launch(daemon: &Daemon, policy: &str, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy, uid, ..Terms::default() })
}

fn spinner(run: &mut Run) -> Result<u32> {
    match run.ask(&Step::Spin)? {
        Outcome::Process(process) => Ok(process),
        other => bail!("{other:?}"),
    }
}

/// A child that has ended and that nobody has waited for.
fn dead_child(run: &mut Run) -> Result<()> {
    let child = spinner(run)?;
    kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL)?;
    wait::until("the child has ended", wait::SOON, || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat"))?;
        Ok(stat.contains(") Z ").then_some(()))
    })
}

/// What a process has used of the processor, in ticks.
fn used(process: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no name in the kernel's line on a process")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next =
        || fields.next().context("a field is missing")?.parse::<u64>().context("a number");
    Ok(next()? + next()?)
}

fn await_use(process: u32, more: u64) -> Result<()> {
    let before = used(process)?;
    wait::until("it has used the processor", wait::SOON, || {
        Ok((used(process)? >= before + more).then_some(()))
    })
}

/// All cgroups of a run, wherever they are.
fn groups(id: &str) -> Result<Vec<PathBuf>> {
    fn below(folder: &Path, name: &str, found: &mut Vec<PathBuf>) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            // What another run has left is removed at any time.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if entry.file_name() == name {
                    found.push(entry.path());
                }
                below(&entry.path(), name, found)?;
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    below(Path::new(CGROUPS), &format!("agentid-{id}"), &mut found)?;
    Ok(found)
}

/// The kernel says that everything in the run's one group stands still.
fn await_still(id: &str) -> Result<()> {
    wait::until("all of it stands still", wait::SOON, || {
        let [group] = groups(id)?.try_into().ok().context("a run has one group")?;
        let events = fs::read_to_string(group.join("cgroup.events"))?;
        Ok(events.lines().any(|line| line == "frozen 1").then_some(()))
    })
}

/// That one uses nothing of the processor while the other does.
fn stands_still(process: u32, other: u32) -> Result<()> {
    let before = used(process)?;
    await_use(other, ENOUGH)?;
    assert_eq!(used(process)?, before, "it goes on");
    Ok(())
}

fn await_no_group(id: &str) -> Result<()> {
    wait::until("its group is removed", wait::SOON, || Ok(groups(id)?.is_empty().then_some(())))
}

fn suspend(daemon: &Daemon, run: &Run) -> Result<()> {
    let changed: Changed = daemon.ask(&["suspend", run.id()])?;
    assert_eq!(changed.runs[0].phase, "suspended");
    assert!(run.view(daemon)?.frozen);
    await_still(run.id())
}

fn resume(daemon: &Daemon, run: &Run) -> Result<()> {
    let changed: Changed = daemon.ask(&["resume", run.id()])?;
    assert_eq!(changed.runs[0].phase, "active");
    assert!(!run.view(daemon)?.frozen);
    Ok(())
}

fn ended(daemon: &Daemon, run: &Run) -> Result<RunView> {
    wait::until("the run has ended", wait::SOON, || {
        let view = run.view(daemon)?;
        Ok((view.phase == "ended").then_some(view))
    })
}

/// P4: a suspended run stands still, and when it is resumed nothing was denied to it; the run beside it, of the same user
/// and from the same cgroup, goes on. Its cgroup goes with it.
#[test]
fn a_suspended_run_stands_still_and_goes_on_as_if_nothing_had_been() -> Result<()> {
    let daemon = Daemon::shared()?;
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let (mut run, mut beside) =
            (launch(&daemon, "killed", uid)?, launch(&daemon, "killed", uid)?);
        let (own, others) = (spinner(&mut run)?, spinner(&mut beside)?);
        dead_child(&mut run)?;
        // Something that would be denied, were it not at rest before.
        assert_eq!(run.errno(&Step::BeginLoop(vec![daemon.scene().granted()]))?, 0);
        let before = run.totals(&daemon)?;
        for _ in 0..2 {
            suspend(&daemon, &run)?;
            stands_still(own, others)?;
            run.say(&read)?;
            resume(&daemon, &run)?;
            assert!(matches!(run.answer(wait::SOON)?, Outcome::Errno(0)), "uid {uid}");
            await_use(own, ENOUGH)?;
        }
        assert_eq!(run.errno(&Step::Ping)?, 0, "uid {uid}");
        let opens = match run.ask(&Step::EndLoop)? {
            Outcome::Tally(opens) => opens,
            other => bail!("{other:?}"),
        };
        assert!(opens.keys().eq([&0]), "uid {uid}: {opens:?}");
        let totals = run.totals(&daemon)?;
        let told = output(daemon.agentid().args(["events", "--id", run.id()]), &[0])?;
        let denied = |totals: Totals| (totals.denied, totals.faults);
        assert_eq!(denied(totals), denied(before), "uid {uid}: {told}");
        daemon.revoke_and_kill(run.id())?;
        ended(&daemon, &run)?;
        await_no_group(run.id())?;
        await_use(others, 1)?;
    }
    Ok(())
}

/// P4: a revocation kills what stands still.
#[test]
fn a_run_that_stands_still_is_killed_by_its_revocation() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = launch(&daemon, "killed", uid)?;
        assert_eq!(run.errno(&Step::Park(5))?, 0);
        spinner(&mut run)?;
        suspend(&daemon, &run)?;
        assert_eq!(daemon.revoke_and_kill(run.id())?.tasks, 7, "uid {uid}");
        ended(&daemon, &run)?;
        await_no_group(run.id())?;
    }
    Ok(())
}

/// P4, P6: with `on_end = "freeze"` the tasks of an ended run stand still, also for the next daemon, until they are killed.
#[test]
fn an_ended_run_stands_still_until_it_is_killed() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (mut run, mut beside) =
            (launch(&daemon, "frozen", uid)?, launch(&daemon, "frozen", uid)?);
        let (own, others) = (spinner(&mut run)?, spinner(&mut beside)?);
        let revoked: Revoked = daemon.ask(&["revoke", run.id()])?;
        assert_eq!((revoked.tasks, revoked.remaining), (2, 2), "uid {uid}");
        let frozen = revoked.frozen_after_ms.context("it is not told when they stood still")?;
        assert!(frozen >= revoked.denied_after_ms, "uid {uid}: {revoked:?}");
        await_still(run.id())?;
        stands_still(own, others)?;
        daemon.kill9()?;
        stands_still(own, others)?;
        daemon.start_again()?;
        stands_still(own, others)?;
        let view = run.view(&daemon)?;
        assert_eq!((view.phase.as_str(), view.frozen, view.tasks), ("stopping", true, 2));
        let again = daemon.complaint(0, 1, &["revoke", run.id()])?;
        assert!(again.contains("is over already"), "{again}");
        let revoked: Revoked = daemon.ask(&["revoke", run.id(), "--kill"])?;
        assert_eq!((revoked.tasks, revoked.remaining), (2, 0), "uid {uid}");
        assert_eq!(ended(&daemon, &run)?.end.context("no end")?.ending, "revoked");
        await_no_group(run.id())?;
        assert_eq!(beside.view(&daemon)?.phase, "active", "uid {uid}");
    }
    Ok(())
}

/// P4, P6: without a daemon `revoke --offline` has them stand still, and kills them when it is told to.
#[test]
fn stands_still_and_is_killed_with_the_daemon_dead() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (mut run, mut beside) =
            (launch(&daemon, "frozen", uid)?, launch(&daemon, "frozen", uid)?);
        let (own, others) = (spinner(&mut run)?, spinner(&mut beside)?);
        daemon.kill9()?;
        let settings = daemon.scene().settings();
        let settings = settings.to_str().context("a path that is no text")?;
        let offline = ["revoke", "--offline", "--config", settings, run.id()];
        let revoked: Revoked = daemon.ask(&offline)?;
        assert_eq!(revoked.remaining, 2, "uid {uid}");
        assert!(revoked.frozen_after_ms.is_some(), "uid {uid}: {revoked:?}");
        await_still(run.id())?;
        stands_still(own, others)?;
        let revoked: Revoked = daemon.ask(&[&offline[..], &["--kill"]].concat())?;
        assert_eq!(revoked.remaining, 0, "uid {uid}");
        daemon.start_again()?;
        ended(&daemon, &run)?;
        await_no_group(run.id())?;
        assert_eq!(beside.view(&daemon)?.phase, "active", "uid {uid}");
    }
    Ok(())
}

/// P4, P6: with a run all below it stands still, and what was held by itself stays so when the run above goes on; neither
/// needs the daemon that has begun it.
#[test]
fn what_is_below_stands_still_with_it() -> Result<()> {
    let mut daemon = Daemon::start()?;
    for uid in USERS {
        let terms = Terms { policy: "killed", uid, ..Terms::default() };
        let mut above = Run::launch(&daemon, &terms)?;
        let mut below = Run::launch(&daemon, &Terms { parent: Some(above.id()), ..terms.clone() })?;
        let mut beside = Run::launch(&daemon, &terms)?;
        let (own, others) = (spinner(&mut below)?, spinner(&mut beside)?);
        suspend(&daemon, &above)?;
        stands_still(own, others)?;
        resume(&daemon, &above)?;
        await_use(own, ENOUGH)?;
        for (first, second) in [(&above, &below), (&below, &above)] {
            suspend(&daemon, first)?;
            suspend(&daemon, second)?;
            daemon.kill9()?;
            daemon.start_again()?;
            resume(&daemon, first)?;
            stands_still(own, others)?;
            resume(&daemon, second)?;
            await_use(own, ENOUGH)?;
        }
        let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
        assert_eq!((above.errno(&step)?, below.errno(&step)?), (0, 0), "uid {uid}");
        daemon.revoke_and_kill(above.id())?;
        ended(&daemon, &below)?;
        await_no_group(above.id())?;
        await_no_group(below.id())?;
    }
    Ok(())
}

/// P2, P4: where the freezer cannot do its part everything is denied all the same, and it is said.
#[test]
fn is_denied_and_told_where_there_is_no_freezer() -> Result<()> {
    let daemon = Daemon::shared()?;
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let mut run = launch(&daemon, "killed", uid)?;
        // No further group may be made below the root.
        let limit = Path::new(CGROUPS).join("cgroup.max.descendants");
        let _limited = Limited::new(&limit)?;
        let said = daemon.complaint(0, 1, &["suspend", run.id()])?;
        assert!(said.contains("everything is denied to the run, but not all"), "{said}");
        assert!(said.contains("--no-freeze"), "{said}");
        assert_eq!(run.errno(&read)?, EPERM, "uid {uid}");
        assert_eq!(run.view(&daemon)?.phase, "suspended");
        resume(&daemon, &run)?;
        assert_eq!(run.errno(&read)?, 0, "uid {uid}");
    }
    Ok(())
}

/// P4: an ended run whose tasks could not be made to stand still is denied everything all the same; it is said that they do not, and they
/// do as soon as they can.
#[test]
fn a_freeze_that_failed_is_tried_again() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut run = launch(&daemon, "frozen", USER)?;
    let own = spinner(&mut run)?;
    let limit = Path::new(CGROUPS).join("cgroup.max.descendants");
    let limited = Limited::new(&limit)?;
    let revoked: Revoked = daemon.ask(&["revoke", run.id()])?;
    assert_eq!((revoked.remaining, revoked.frozen_after_ms), (2, None), "{revoked:?}");
    assert!(!run.view(&daemon)?.frozen);
    await_use(own, 1)?;
    drop(limited);
    wait::until("it stands still", wait::SOON, || Ok(run.view(&daemon)?.frozen.then_some(())))?;
    await_still(run.id())?;
    let revoked: Revoked = daemon.ask(&["revoke", run.id(), "--kill"])?;
    assert_eq!(revoked.remaining, 0);
    ended(&daemon, &run)?;
    Ok(())
}

/// A limit that is 0 for as long as this lives.
struct Limited<'a>(&'a Path);

impl<'a> Limited<'a> {
    fn new(path: &'a Path) -> Result<Self> {
        fs::write(path, "0").with_context(|| format!("write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.0, "max") {
            eprintln!("{} stays 0: {error}", self.0.display());
        }
    }
}
