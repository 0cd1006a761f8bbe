//! `cargo xtask test`: the checks, the host's tests, and the suite in guests.

mod boots;
mod failures;
mod passed;
mod plan;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result};

use self::boots::{Common, Job};
use self::plan::{Boot, DEFAULT, names, plan};
use crate::artifacts;
use crate::kernels::{Kernel, SERIES};
use crate::qemu::End;
use crate::setup::Cache;
use crate::tally::Tally;
use crate::{check, native, shell};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only on these kernels: 6.1, 6.12, 7.3, or the path of a kernel image [default: all three]
    #[arg(long, value_name = "6.1|6.12|7.3|PATH")]
    kernel: Vec<String>,
    /// Only tests whose name contains this, or one of these; leaves out `check`
    #[arg(long, value_name = "STRING,…", value_delimiter = ',')]
    filter: Vec<String>,
    /// Run the suite on this machine, as root, instead of in guests
    #[arg(long)]
    native: bool,
    /// Run also guests whose tests have passed before and in which nothing has changed since
    #[arg(long)]
    again: bool,
}

/// One line of the closing table.
struct Row {
    place: String,
    boot: &'static str,
    tally: Tally,
    seconds: u64,
    /// What was said of those that failed.
    failures: String,
}

pub fn run(options: &Options) -> Result<u8> {
    let cache = Cache::open()?;
    let mut rows = Vec::new();
    if options.filter.is_empty() {
        // A check is not a test, but one that fails must not look like success.
        let begun = Instant::now();
        let tally = Tally { failed: check::run(&cache).len(), ..Tally::default() };
        rows.push(Row::new("check".to_owned(), "", tally, begun));
    }
    let begun = Instant::now();
    let tally = or_failed("host", check::host_tests(&cache, &options.filter, false));
    rows.push(Row::new("host".to_owned(), "", tally, begun));
    let begun = Instant::now();
    if let Err(error) = guests(&cache, options, &mut rows) {
        let tally = or_failed("guests", Err(error));
        rows.push(Row::new("guests".to_owned(), "", tally, begun));
    }
    close(&rows)
}

/// What could not even run counts as one failure, and the rest goes on.
fn or_failed(place: &str, outcome: Result<Tally>) -> Tally {
    outcome.unwrap_or_else(|error| {
        shell::say(format_args!("test: {place}: {error:#}"));
        Tally { failed: 1, ..Tally::default() }
    })
}

/// The suite on every kernel, or natively.
fn guests(cache: &Cache, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let artifacts = artifacts::build(cache)?;
    let Some(suite) = &artifacts.suite else {
        shell::say("test: there is no suite for guests yet (tests/suite)");
        return Ok(());
    };
    let plan = plan(&names(suite)?, &options.filter)?;
    if options.native {
        rows.push(run_native(suite, &plan)?);
        return Ok(());
    }
    let all = SERIES.iter().map(|series| series.name.to_owned());
    let kernels = if options.kernel.is_empty() { all.collect() } else { options.kernel.clone() };
    let kernels: Vec<Kernel> =
        kernels.iter().map(|name| Kernel::find(cache, name)).collect::<Result<_>>()?;
    let mut jobs = Vec::new();
    // Small boots come last, and the slowest kernel, which is the newest, first, so that no processor waits long for
    // another one.
    for (boot, tests) in &plan {
        for kernel in kernels.iter().rev().filter(|kernel| boot.is_for(&kernel.name)) {
            jobs.push(Job { kernel: kernel.clone(), boot, tests: tests.clone() });
        }
    }
    rows.extend(boots::run(
        &Common { cache, artifacts: &artifacts, suite, again: options.again },
        &jobs,
    )?);
    Ok(())
}

/// What failed, the table, and as the very last line the sum.
fn close(rows: &[Row]) -> Result<u8> {
    let mut sum = Tally::default();
    let mut out = std::io::stdout().lock();
    for Row { place, boot, failures, .. } in rows.iter().filter(|row| !row.failures.is_empty()) {
        writeln!(out, "\nfailures of {place} {boot}:")?;
        for line in failures.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    writeln!(
        out,
        "\n{:8} {:20} {:>7} {:>7} {:>8} {:>7} {:>6}",
        "where", "boot", "passed", "failed", "skipped", "before", "time"
    )?;
    for Row { place, boot, tally, seconds, .. } in rows {
        let Tally { passed, failed, skipped, before } = tally;
        writeln!(
            out,
            "{place:8} {boot:20} {passed:>7} {failed:>7} {skipped:>8} {before:>7} {seconds:>4} s"
        )?;
        sum.add(*tally);
    }
    writeln!(out, "{sum}")?;
    Ok(u8::from(sum.failed > 0))
}

impl Row {
    fn new(place: String, boot: &'static str, tally: Tally, begun: Instant) -> Self {
        let seconds = begun.elapsed().as_secs();
        Self { place, boot, tally, seconds, failures: String::new() }
    }

    /// What its output says of failures, if there are any, and how it ended.
    fn with_failures(mut self, output: &str, ending: &str) -> Self {
        if self.tally.failed > 0 {
            self.failures = format!("{}\n{ending}", failures::told(output));
        }
        self
    }
}

/// How a suite has ended; of one whose guest died, what the guest said last.
fn ending(end: End, last_words: &str) -> String {
    match end {
        End::Status(status) => format!("the suite has ended with status {status}"),
        _ => last_words.to_owned(),
    }
}

fn arguments(tests: &[String]) -> Vec<String> {
    let fixed = ["--test-threads=1", "--exact"].map(str::to_owned);
    fixed.into_iter().chain(tests.iter().cloned()).collect()
}

/// What a boot's output says. Tests that a dead guest did not answer for have failed.
fn count(output: &str, tests: usize, end: End) -> Tally {
    let mut tally = Tally::default();
    output.lines().for_each(|line| tally.read_line(line));
    if tally.sum() == 0 {
        let passed = |line: &&str| line.starts_with("test ") && line.ends_with("... ok");
        tally.passed = output.lines().filter(passed).count();
        tally.failed = tests.saturating_sub(tally.passed).max(1);
    } else if end != End::Status(0) && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

fn run_native(suite: &Path, plan: &[(&'static Boot, Vec<String>)]) -> Result<Row> {
    native::require()?;
    let begun = Instant::now();
    let tests = plan.iter().find(|(boot, _)| boot.name == DEFAULT.name);
    let tests = tests.map(|(_, tests)| tests.as_slice()).unwrap_or_default();
    let program = suite.to_string_lossy();
    let mut command = shell::as_root(&program).context("the suite needs root")?;
    let output = command
        .args(arguments(tests))
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start the suite")?;
    std::io::stdout().write_all(&output.stdout)?;
    let status = output.status.code().and_then(|code| u8::try_from(code).ok());
    let end = status.map_or(End::Crashed, End::Status);
    let output = String::from_utf8_lossy(&output.stdout);
    let tally = count(&output, tests.len(), end);
    Ok(Row::new("native".to_owned(), DEFAULT.name, tally, begun)
        .with_failures(&output, &ending(end, "")))
}

#[cfg(test)]
mod tests;
