//! Launches and revocations beside as many live runs as there may be.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::pause;

use super::start::{self, Started};
use super::{Table, middle};
use crate::daemon::Daemon;
use crate::settle;

const LEVELS: [usize; 4] = [1, 100, 1_000, 10_000];
/// Launched and revoked one after another at each of them, and before.
const TIMES: usize = 31;
const WARMING: usize = 3;
const TTL: Duration = Duration::from_secs(3600);

/// Microseconds of the clock that counts instructions.
#[derive(Clone, Copy)]
struct Figures {
    launch: u64,
    denial: u64,
    stopped: u64,
    answered: u64,
}

/// Of what it takes with one run, for launches, denials and ends.
const LIMIT: f64 = 2.0;
/// A minute has as many microseconds, and a thousand launches are to be done in it.
const LAUNCH: u64 = 60_000;

impl Figures {
    /// What takes much longer than with one run.
    fn beyond(&self, now: &Self, level: usize) -> Vec<String> {
        let parts = [
            ("launch", self.launch, now.launch),
            ("denied", self.denial, now.denial),
            ("stopped", self.stopped, now.stopped),
        ];
        let ratio = |one: u64, now: u64| now as f64 / one.max(1) as f64;
        let over = parts.into_iter().filter(|(_, one, now)| ratio(*one, *now) > LIMIT);
        let mut over: Vec<String> = over
            .map(|(what, one, now)| {
                format!("{what}: {now} at {level} runs, more than {LIMIT} times of {one} at one")
            })
            .collect();
        if now.launch > LAUNCH {
            over.push(format!("a thousand launches take more than a minute at {level} runs"));
        }
        over
    }
}

pub fn measure() -> Result<Table> {
    let daemon = Daemon::start()?;
    let (mut holders, mut first, mut over) = (Vec::new(), None::<Figures>, Vec::new());
    let mut table = String::from(
        "The usual one of 31, in thousands of instructions of the whole machine; of one process each.\n\n\
         | live runs | launch | revocation: denied | stopped | answered | the daemon's memory, KiB | its descriptors |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for level in LEVELS {
        while holders.len() < level {
            holders.push(hold()?.process);
        }
        settle();
        let found = figures()?;
        let Figures { launch, denial, stopped, answered } = found;
        over.extend(first.get_or_insert(found).beyond(&found, level));
        let (memory, descriptors) = (daemon.memory()?, daemon.descriptors()?);
        let row = format!(
            "| {level} | {launch} | {denial} | {stopped} | {answered} | {memory} | {descriptors} |"
        );
        eprintln!("agentid-bench: {row}");
        writeln!(table, "{row}")?;
    }
    let begun = Instant::now();
    let all = start::revoke_all()?;
    let answered = begun.elapsed().as_millis();
    ensure!(all.runs.len() == holders.len(), "{} runs were revoked", all.runs.len());
    let left: u64 = all.runs.iter().map(|run| run.remaining).sum();
    writeln!(
        table,
        "\nAll of them at once, in millions: denied {:.1}, stopped {:?}, answered {answered}; {left} tasks were left then.",
        all.denied_after_ms, all.stopped_after_ms,
    )?;
    for holder in holders {
        waitpid(holder, None)?;
    }
    settle();
    writeln!(
        table,
        "The daemon's memory then: {} KiB; descriptors: {}.",
        daemon.memory()?,
        daemon.descriptors()?
    )?;
    daemon.unload()?;
    Ok(Table { text: table, over })
}

/// A run that lives and does nothing.
fn hold() -> Result<Started> {
    start::start(Some(TTL), |out| {
        drop(out);
        loop {
            pause();
        }
    })
}

fn figures() -> Result<Figures> {
    let mut all = Vec::new();
    for time in 0..WARMING + TIMES {
        let Started { process, launched, says: _says } = hold()?;
        let launched = launched.ok_or_else(|| anyhow::anyhow!("no run was launched"))?;
        let begun = Instant::now();
        let revoked = start::revoke(&launched.id)?;
        let answered = begun.elapsed();
        waitpid(process, None)?;
        if time >= WARMING {
            let stopped = revoked.stopped_after_ms.unwrap_or(f64::MAX);
            all.push((launched.took, revoked.denied_after_ms, stopped, answered));
        }
    }
    let micros = |ms: f64| (ms * 1000.0) as u64;
    Ok(Figures {
        launch: middle(all.iter().map(|one| one.0.as_micros() as u64))?,
        denial: middle(all.iter().map(|one| micros(one.1)))?,
        stopped: middle(all.iter().map(|one| micros(one.2)))?,
        answered: middle(all.iter().map(|one| one.3.as_micros() as u64))?,
    })
}
