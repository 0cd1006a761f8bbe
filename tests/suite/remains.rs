//! What runs leave behind.

use std::{fs, os::unix::process::CommandExt as _};

use agentid_tests::harness::{
    Crowd, Daemon, Run, Scene,
    cli::output,
    crowd::usual,
    footprint::{Footprint, memory_kib},
    note, scale,
    scene::{PROBE, USERS},
    table::Table,
    wait,
};
use anyhow::{Context as _, Result};

const JOBS: usize = 500;
/// Of these so many are started by `agentid run` and execute a program, which takes most of the time.
const PROGRAMS: usize = 40;
/// Before anything is compared: what is there once for all is there.
const FIRST: usize = 4;
/// What the record of a short job may take.
const RECORD: u64 = 4096;

fn jobs(daemon: &Daemon, count: usize) -> Result<()> {
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    for (_, uid) in (0..count).zip(USERS.into_iter().cycle()) {
        let mut command = daemon.agentid();
        command
            .args(["run", "--policy", "fixture", "--agent", "job", "--owner", "suite", "--task"]);
        command.args(["test", "--param", &workspace, "--", PROBE, "nothing"]);
        output(command.uid(uid).gid(uid), &[0])?;
    }
    Ok(())
}

/// That there is nothing more than there was, save for the records, as soon as the daemon has looked at what it has.
fn await_as_before(daemon: &Daemon, before: &Footprint, records: usize) -> Result<()> {
    let expected = Footprint { records, ..before.clone() };
    let mut last = None;
    let same = wait::until("nothing is left", wait::SOON, || {
        let now = Footprint::of(daemon)?;
        let same = now.is_within(&expected);
        last = Some(now);
        Ok(same.then_some(()))
    });
    same.with_context(|| format!("{expected:?}\nwas expected, and there is\n{last:?}"))
}

/// P9: of five hundred short jobs nothing is left but their records: no slot, no entry of a table, no pin, no group of
/// tasks, no descriptor and no file.
#[test]
fn five_hundred_short_jobs_leave_nothing_but_their_records() -> Result<()> {
    let daemon = Daemon::shared()?;
    jobs(&daemon, FIRST)?;
    let none = || Ok(daemon.ps()?.is_empty().then_some(()));
    wait::until("the first are over", wait::SOON, none)?;
    let before = Footprint::of(&daemon)?;
    jobs(&daemon, PROGRAMS)?;
    for uid in USERS {
        Crowd::of(uid)?.jobs(&daemon, (JOBS - PROGRAMS) / USERS.len())?;
    }
    await_as_before(&daemon, &before, before.records + JOBS)?;
    for entry in fs::read_dir(daemon.scene().state().join("invocations"))? {
        let entry = entry?;
        assert!(entry.metadata()?.len() <= RECORD, "{} has grown", entry.path().display());
    }
    Ok(())
}

/// P9: a daemon that knows nothing of those before it, because the state folder is a new one, gives a slot no generation that
/// it has had: a socket or a task that outlives its run must not become the next one's.
#[test]
fn a_new_state_folder_gives_no_generation_again() -> Result<()> {
    let mut last = 0;
    for _ in 0..2 {
        let daemon = Daemon::start()?;
        let run = Run::of(&daemon, 0)?;
        let (_, instance) = Table::open()?.find(run.id())?;
        assert!(instance.generation > last, "{last}, and then {}", instance.generation);
        last = instance.generation;
        run.finish()?;
    }
    Ok(())
}

/// Runs that are launched and revoked one after another. `AGENTID_CYCLES` of `cargo xtask test` sets another number.
const CYCLES: usize = 150;
/// How many are asked for at once.
const BATCH: usize = 50;
/// By how much the daemon's memory may grow between a tenth of them and all.
const GROWTH_KIB: u64 = 2048;

/// P9: runs that come and go leave no entry of a table, no descriptor and no memory, and their records go when their time is
/// over.
#[test]
fn cycles_of_launch_and_revocation_do_not_leak() -> Result<()> {
    let scene = Scene::new()?;
    scene.set("keep_ended", Some("1s"))?;
    let daemon = Daemon::start_in(scene)?;
    let cycles = scale::asked("cycles", CYCLES)?;
    let mut crowd = Crowd::of(0)?;
    let mut done = Vec::new();
    let mut go = |until: usize| -> Result<()> {
        while done.len() < until {
            done.extend(crowd.cycle(&daemon, BATCH.min(until - done.len()))?);
        }
        Ok(())
    };
    go(BATCH)?;
    let forgotten = || Ok((Footprint::of(&daemon)?.records == 0).then_some(()));
    wait::until("the first are forgotten", wait::SOON, forgotten)?;
    let before = Footprint::of(&daemon)?;
    go(cycles / 10)?;
    let tenth = memory_kib(&daemon)?;
    go(cycles)?;
    let all = memory_kib(&daemon)?;
    await_as_before(&daemon, &before, 0)?;
    note(format_args!(
        "{cycles} cycles, the usual one {:?}; memory {tenth} KiB after a tenth, {all} KiB at the end",
        usual(&done)
    ));
    assert!(all <= tenth + GROWTH_KIB, "{tenth} and {all} KiB");
    Ok(())
}
