//! Tasks that preempt each other do not get each other's verdicts.

use std::{fs, os::unix::fs::chown, path::PathBuf, time::Duration};

use agentid_tests::{
    attack::{Attempt, Effort},
    harness::{Attacker, Daemon, scene::USER},
};
use anyhow::{Result, ensure};

const RUNS: usize = 6;
const THREADS: usize = 3;
const TIME: Duration = Duration::from_secs(15);
/// Verdicts of each run, which take longer where little is done at a time.
const LEAST: u64 = 1_000;
/// Folders above each file, so that a walk takes its time.
const DEPTH: usize = 24;

/// P3, P8: runs with different rights open their own files and each other's at the same time, more of them than there
/// are processors. Each open is answered by the opener's rules alone, and none is a fault.
#[test]
fn no_verdict_reaches_another_task() -> Result<()> {
    hammer()
}

pub fn hammer() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let files = (0..RUNS).map(|number| {
        let folder = daemon.scene().path().join(format!("own-{number}"));
        let deep = (0..DEPTH).fold(folder.clone(), |path, level| path.join(format!("d{level}")));
        fs::create_dir_all(&deep)?;
        chown(&folder, Some(USER), Some(USER))?;
        let file = deep.join("file");
        daemon.scene().file(&file)?;
        Ok((folder, file))
    });
    let files: Vec<_> = files.collect::<Result<_>>()?;
    let launch = |(folder, _): &(PathBuf, _)| Attacker::inside_of(&daemon, USER, folder);
    let mut runs: Vec<_> = files.iter().map(launch).collect::<Result<_>>()?;
    for (number, run) in runs.iter_mut().enumerate() {
        let others = files.iter().enumerate().filter(|(other, _)| *other != number);
        run.begin(&Attempt::Hammer {
            granted: vec![files[number].1.clone(); RUNS - 1],
            denied: others.map(|(_, (_, file))| file.clone()).collect(),
            threads: THREADS,
            effort: Effort { time: TIME, at_least: LEAST },
        })?;
    }
    for run in &mut runs {
        let verdicts = run.verdicts(10 * TIME)?;
        ensure!(verdicts.wrong.is_empty(), "wrong verdicts: {:?}", verdicts.wrong);
        ensure!(verdicts.right >= LEAST, "only {} verdicts", verdicts.right);
        let totals = daemon.show(run.id())?.totals;
        ensure!(totals.is_none_or(|totals| totals.faults == 0), "faults: {totals:?}");
    }
    Ok(())
}
