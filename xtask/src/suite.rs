//! `cargo xtask test`: the checks, the host's tests, and the suite in guests.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::artifacts::{self, Artifacts};
use crate::guest::Guest;
use crate::image::Added;
use crate::kernels::{Kernel, SERIES};
use crate::qemu::End;
use crate::setup::Cache;
use crate::tally::Tally;
use crate::wire::Kind;
use crate::{check, native, pending, shell, vm};

/// A way to boot a guest, and the module of the suite that wants it.
struct Boot {
    module: &'static str,
    append: &'static str,
}

/// Tests outside these modules share the default boot.
static BOOTS: [Boot; 2] = [
    Boot { module: "boot_nobpf", append: "lsm=landlock,yama" },
    Boot { module: "boot_preempt_full", append: "preempt=full" },
];
static DEFAULT: Boot = Boot { module: "default", append: "" };
/// Modules with this prefix must be in the table.
const SPECIAL: &str = "boot_";
const IN_GUEST: &str = "/usr/bin/agentid-suite";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only on these kernels: 6.1, 6.12, 7.3, or the path of a kernel image [default: all three]
    #[arg(long, value_name = "6.1|6.12|7.3|PATH")]
    kernel: Vec<String>,
    /// Only tests whose name contains this; leaves out `check`
    #[arg(long, value_name = "STRING")]
    filter: Option<String>,
    /// Run the suite on this machine, as root, instead of in guests
    #[arg(long)]
    native: bool,
}

/// One line of the closing table.
struct Row {
    place: String,
    boot: &'static str,
    tally: Tally,
    seconds: u64,
}

pub fn run(options: &Options) -> Result<u8> {
    let cache = Cache::open()?;
    let filter = options.filter.as_deref();
    let mut rows = Vec::new();
    if filter.is_none() {
        // A check is not a test, but one that fails must not look like success.
        let begun = Instant::now();
        let tally = Tally { failed: check::run(&cache).len(), ..Tally::default() };
        rows.push(Row::new("check".to_owned(), "", tally, begun));
    }
    let begun = Instant::now();
    let tally = or_failed("host", check::host_tests(&cache, filter, false));
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
    let plan = plan(&names(suite)?, options.filter.as_deref())?;
    if options.native {
        rows.push(run_native(suite, &plan)?);
        return Ok(());
    }
    let all = SERIES.iter().map(|series| series.name.to_owned());
    let kernels = if options.kernel.is_empty() { all.collect() } else { options.kernel.clone() };
    for name in kernels {
        let kernel = Kernel::find(cache, &name)?;
        for (boot, tests) in &plan {
            // Whoever names tests wants them run, whether they are known to hold or not.
            let (tests, skipped) = if options.filter.is_some() {
                (tests.clone(), 0)
            } else {
                without_pending(&kernel.name, tests)
            };
            if tests.is_empty() {
                let tally = Tally { skipped, ..Tally::default() };
                rows.push(Row::new(kernel.name.clone(), boot.module, tally, Instant::now()));
                continue;
            }
            let mut row = run_boot(cache, &artifacts, suite, &kernel, boot, &tests)?;
            row.tally.skipped += skipped;
            rows.push(row);
        }
    }
    Ok(())
}

/// The tests that run on a kernel, and how many of the others there are; each of those is named with its reason.
fn without_pending(kernel: &str, tests: &[String]) -> (Vec<String>, usize) {
    let mut run = Vec::new();
    for test in tests {
        match pending::reason(kernel, test) {
            Some(why) => shell::say(format_args!("test: {test} is skipped on {kernel}: {why}")),
            None => run.push(test.clone()),
        }
    }
    let skipped = tests.len() - run.len();
    (run, skipped)
}

/// The table, and as the very last line the sum.
fn close(rows: &[Row]) -> Result<u8> {
    let mut sum = Tally::default();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\n{:8} {:20} {:>7} {:>7} {:>8} {:>6}",
        "where", "boot", "passed", "failed", "skipped", "time"
    )?;
    for Row { place, boot, tally, seconds } in rows {
        let Tally { passed, failed, skipped } = tally;
        writeln!(out, "{place:8} {boot:20} {passed:>7} {failed:>7} {skipped:>8} {seconds:>4} s")?;
        sum.add(*tally);
    }
    writeln!(out, "{sum}")?;
    Ok(u8::from(sum.failed > 0))
}

impl Row {
    fn new(place: String, boot: &'static str, tally: Tally, begun: Instant) -> Self {
        Self { place, boot, tally, seconds: begun.elapsed().as_secs() }
    }
}

/// The tests of the suite, which as a static binary runs here as well.
fn names(suite: &Path) -> Result<Vec<String>> {
    let list = shell::run_quiet(Command::new(suite).args(["--list", "--format", "terse"]))?;
    Ok(list.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect())
}

/// Which tests run in which boot. Boots without tests are left out.
fn plan(names: &[String], filter: Option<&str>) -> Result<Vec<(&'static Boot, Vec<String>)>> {
    let modules: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.rsplit_once("::").map(|(module, _)| module))
        .flat_map(|module| module.split("::"))
        .filter(|module| module.starts_with(SPECIAL))
        .collect();
    let known = |module: &&str| BOOTS.iter().any(|boot| boot.module == *module);
    if let Some(stranger) = modules.iter().find(|module| !known(module)) {
        bail!("no boot for the tests in {stranger}: give it one in xtask/src/suite.rs");
    }
    let wanted = |name: &&String| filter.is_none_or(|filter| name.contains(filter));
    let is_in = |name: &str, module: &str| name.split("::").any(|part| part == module);
    let mut plan = Vec::new();
    for boot in std::iter::once(&DEFAULT).chain(&BOOTS) {
        let belongs = |name: &&String| match boot.module {
            _ if std::ptr::eq(boot, &DEFAULT) => !BOOTS.iter().any(|boot| is_in(name, boot.module)),
            module => is_in(name, module),
        };
        let tests: Vec<String> = names.iter().filter(wanted).filter(belongs).cloned().collect();
        if !tests.is_empty() {
            plan.push((boot, tests));
        }
    }
    Ok(plan)
}

fn arguments(tests: &[String]) -> Vec<String> {
    let fixed = ["--test-threads=1", "--exact"].map(str::to_owned);
    fixed.into_iter().chain(tests.iter().cloned()).collect()
}

fn run_boot(
    cache: &Cache,
    artifacts: &Artifacts,
    suite: &Path,
    kernel: &Kernel,
    boot: &'static Boot,
    tests: &[String],
) -> Result<Row> {
    shell::say(format_args!(
        "test: {} tests on {}, boot {}",
        tests.len(),
        kernel.name,
        boot.module
    ));
    let begun = Instant::now();
    let mut command = vec![IN_GUEST.to_owned()];
    command.extend(arguments(tests));
    let mut guest = Guest::bare(kernel.clone(), command);
    guest.append = boot.append.to_owned();
    guest.added.push(Added::new(suite, IN_GUEST));
    let mut output = Vec::new();
    let end = guest.run(cache, artifacts, false, &mut |kind, bytes| {
        if kind == Kind::Stdout {
            output.extend_from_slice(bytes);
        }
        vm::pass_on(kind, bytes)
    })?;
    let tally = count(&String::from_utf8_lossy(&output), tests.len(), end);
    Ok(Row::new(kernel.name.clone(), boot.module, tally, begun))
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
    let tests = plan.iter().find(|(boot, _)| boot.module == DEFAULT.module);
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
    let tally = count(&String::from_utf8_lossy(&output.stdout), tests.len(), end);
    Ok(Row::new("native".to_owned(), DEFAULT.module, tally, begun))
}

#[cfg(test)]
mod tests;
