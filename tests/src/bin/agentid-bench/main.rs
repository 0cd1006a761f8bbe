//! What enforcement costs, counted in executed instructions.
//!
//! Runs as root in a guest of `cargo xtask bench`, whose clock advances by one nanosecond with each instruction. Every
//! operation of [`operation::TABLE`] is measured in every situation of [`situation::TABLE`], in one boot: without
//! agentid first and last, then under Landlock, as an untagged process, alone and beside a run, and as a run. Each situation has a process of
//! its own (`agentid-bench worker`), so that none holds what loading the programs left open.
//!
//! Parts of the life of a run are measured when they are asked for by name: see [`life`].
//!
//! Prints a Markdown table; ends with 1 when an untagged process pays more than [`report::UNTAGGED_LIMIT`] or an end takes
//! longer beside a kill than it may, and with 2
//! when something could not be measured or was not denied as it must be.

mod clock;
mod daemon;
mod life;
mod names;
mod operation;
mod report;
mod rules;
mod sandbox;
mod situation;
mod terrain;
mod worker;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::daemon::Daemon;
use crate::life::Table;
use crate::report::Report;

/// Deferred work of boot, load and unload goes on for a while and would be counted. The method's own constant: there is
/// no fact to wait for.
const SETTLING: Duration = Duration::from_secs(3);

const PASSED: u8 = 0;
const OVER_LIMIT: u8 = 1;
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["worker", order] => worker::run(order).map(|()| PASSED),
        ["wait"] => worker::wait().map(|()| PASSED),
        ["launches", way] => life::work(way).map(|()| PASSED),
        [] => measure(""),
        words => match (life::part(words), words) {
            (Some(of_life), _) => measure_life(of_life),
            (None, [part]) if !part.starts_with('-') => measure(part),
            _ => Err(anyhow::anyhow!(
                "usage: agentid-bench [PART OF AN OPERATION'S NAME | launch | ending [KIND] | many]"
            )),
        },
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("agentid-bench: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Measures a part of the life of runs.
fn measure_life(part: impl FnOnce() -> Result<Table>) -> Result<u8> {
    prepare()?;
    let table = part()?;
    let kernel = nix::sys::utsname::uname()?;
    let kernel = kernel.release().to_string_lossy();
    let text = &table.text;
    write!(std::io::stdout(), "### Linux {kernel}\n\n{text}").context("failed to print it")?;
    Ok(status(&table.over))
}

fn prepare() -> Result<()> {
    terrain::build()?;
    clock::wait_for_instructions()?;
    wait_for_random_numbers()
}

fn settle() {
    std::thread::sleep(SETTLING);
}

/// Measures the operations whose name contains `part`.
fn measure(part: &str) -> Result<u8> {
    prepare()?;
    let _server = names::serve()?;
    let mut report = Report::new(part)?;
    let mut daemon: Option<Daemon> = None;
    for situation in &situation::TABLE {
        daemon = match (daemon, situation.agentid_loaded) {
            (None, true) => Some(Daemon::start()?),
            (Some(running), false) => {
                running.unload()?;
                None
            }
            (unchanged, _) => unchanged,
        };
        eprintln!("agentid-bench: {}", situation.title);
        settle();
        let samples = situation
            .measure(&report.operations)
            .with_context(|| format!("failed to measure: {}", situation.title))?;
        report.add(situation, samples)?;
    }
    write!(std::io::stdout(), "{report}").context("failed to print the report")?;
    Ok(status(&report.untagged_over_limit()))
}

fn status(over: &[String]) -> u8 {
    for line in over {
        eprintln!("agentid-bench: {line}");
    }
    if over.is_empty() { PASSED } else { OVER_LIMIT }
}

/// Until its generator is seeded the kernel computes each random number anew, which forks and connects pay for.
fn wait_for_random_numbers() -> Result<()> {
    let mut random = File::open("/dev/random").context("failed to open /dev/random")?;
    random.read_exact(&mut [0]).context("failed to wait for /dev/random")
}
