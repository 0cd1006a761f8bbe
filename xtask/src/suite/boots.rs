//! The boots of a test run, side by side: one more than there are processors, for an emulated guest uses one, and waits for
//! the clock for a fifth of its time.

use std::env;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::plan::Boot;
use super::{Row, count, passed};
use crate::artifacts::Artifacts;
use crate::emulator;
use crate::fuzzer;
use crate::guest::Guest;
use crate::image::{self, Added};
use crate::kernels::Kernel;
use crate::makers;
use crate::setup::Cache;
use crate::shell;
use crate::tally::Tally;
use crate::wire::Kind;

const IN_GUEST: &str = "/usr/bin/agentid-suite";
/// How much of what takes long is done, if not as much as usual, and how a test is told.
const SCALES: [(&str, &str); 4] = [
    ("AGENTID_CYCLES", "agentid.cycles"),
    ("AGENTID_EXAMPLES", "agentid.examples"),
    ("AGENTID_RUNS", "agentid.runs"),
    ("AGENTID_TASKS", "agentid.tasks"),
];

/// Tests for one guest.
pub struct Job {
    pub kernel: Kernel,
    pub boot: &'static Boot,
    pub tests: Vec<String>,
}

impl Job {
    /// What its lines begin with.
    fn name(&self) -> String {
        format!("{} {}", self.kernel.name, self.boot.name)
    }
}

/// What all jobs have in common.
pub struct Common<'run> {
    pub cache: &'run Cache,
    pub artifacts: &'run Artifacts,
    pub suite: &'run Path,
    /// Run what has passed before, too.
    pub again: bool,
}

/// A row for each job, in the order of the jobs.
pub fn run(common: &Common<'_>, jobs: &[Job]) -> Result<Vec<Row>> {
    // What all guests need is set up once, before they look for it all at once.
    emulator::ready(common.cache)?;
    image::mini(common.cache)?;
    let processors = thread::available_parallelism().context("failed to count the processors")?;
    let workers = processors.get() + 1;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return done };
            done.push((number, run_job(common, job)));
        }
    };
    let done: Result<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().ok().context("a guest's thread has died")
        };
        threads.into_iter().map(join).collect()
    });
    let mut rows: Vec<(usize, Row)> = done?.into_iter().flatten().collect();
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn run_job(common: &Common<'_>, job: &Job) -> Row {
    let begun = Instant::now();
    let row = |tally| Row::new(job.kernel.name.clone(), job.boot.name, tally, begun);
    match run_boot(common, job) {
        Ok((tally, output, ending)) => row(tally).with_failures(&output, &ending),
        Err(error) => {
            let failures = format!("{error:#}");
            shell::say(format_args!("test: {}: {failures}", job.name()));
            let tally = Tally { failed: job.tests.len().max(1), ..Tally::default() };
            Row { failures, ..row(tally) }
        }
    }
}

/// The result, what the guest wrote on standard output, and how it ended.
fn run_boot(common: &Common<'_>, job: &Job) -> Result<(Tally, String, String)> {
    let mut command = vec![IN_GUEST.to_owned()];
    command.extend(super::arguments(&job.tests));
    let mut guest = Guest::bare(job.kernel.clone(), command);
    guest.root = job.boot.root;
    guest.machine.processors = job.boot.processors;
    guest.append = job.boot.append.to_owned();
    // An argument of the kernel, so that a guest that was asked for less is another one.
    for (variable, argument) in SCALES {
        if let Ok(number) = env::var(variable) {
            guest.append += &format!(" {argument}={number}");
        }
    }
    guest.modules = modules(job)?;
    guest.added.push(Added::new(common.suite, IN_GUEST));
    if job.boot.fuzzer {
        guest.added.push(fuzzer::packages(common.cache)?);
    }
    if job.boot.makers {
        guest.added.push(makers::programs(common.cache)?);
    }
    let fingerprint = guest.fingerprint(common.cache, common.artifacts)?;
    if let Some(before) = passed::recall(&fingerprint).filter(|_| !common.again) {
        shell::say(format_args!(
            "test: {}: {before} tests have passed before, and nothing of this guest has changed since (--again)",
            job.name()
        ));
        return Ok((Tally { before, ..Tally::default() }, String::new(), String::new()));
    }
    shell::say(format_args!("test: {} tests in a guest: {}", job.tests.len(), job.name()));
    let mut lines = Lines::of(job.name());
    let end = guest
        .run(common.cache, common.artifacts, false, &mut |kind, bytes| lines.take(kind, bytes))?;
    lines.take(Kind::Stdout, b"\n")?;
    let output = String::from_utf8_lossy(&lines.stdout).into_owned();
    let tally = count(&output, job.tests.len(), end);
    passed::keep(&fingerprint, tally)?;
    Ok((tally, output, super::ending(end, &guest.last_words)))
}

/// The modules that a boot wants, and those that they need, in load order.
fn modules(job: &Job) -> Result<Vec<String>> {
    let Job { kernel, boot, .. } = job;
    let mut ordered = Vec::new();
    for name in boot.load {
        kernel.load_order(name, &mut ordered)?;
    }
    for name in boot.load_if_apart {
        if kernel.has_module(name)? {
            kernel.load_order(name, &mut ordered)?;
        }
    }
    Ok(ordered)
}

/// Passes a guest's output on by whole lines, each with the name of its job, for several jobs are at it at once, and with
/// the seconds since its beginning, which tell what takes long.
struct Lines {
    prefix: String,
    begun_at: Instant,
    /// All of standard output.
    stdout: Vec<u8>,
    /// What has no end of line yet, of both streams: a test's messages stand where it wrote them.
    begun: Vec<u8>,
}

impl Lines {
    fn of(prefix: String) -> Self {
        Self { prefix, begun_at: Instant::now(), stdout: Vec::new(), begun: Vec::new() }
    }

    fn take(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        if kind == Kind::Stdout {
            self.stdout.extend_from_slice(bytes);
        }
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut out = std::io::stdout().lock();
        let seconds = self.begun_at.elapsed().as_secs();
        let text = String::from_utf8_lossy(&self.begun[..whole]);
        for line in text.lines().filter(|line| !line.is_empty()) {
            writeln!(out, "[{} {seconds:>4} s] {line}", self.prefix)?;
        }
        self.begun.drain(..whole);
        Ok(())
    }
}
