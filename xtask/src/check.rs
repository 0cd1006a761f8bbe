//! `cargo xtask check`: everything that can be found wrong without a guest.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::artifacts::{self, bpf_cargo};
use crate::setup::Cache;
use crate::tally::Tally;
use crate::{floors, hooks, mutate, shell};

const DENY_VERSION: &str = "0.20.2";

type Check = fn(&Cache) -> Result<()>;

/// Runs every check and returns the names of those that did not hold.
pub fn run(cache: &Cache) -> Vec<&'static str> {
    let checks: [(&'static str, Check); 7] = [
        ("format", format),
        ("floors", |_| floors::check()),
        ("the table of hooks", |_| hooks::check()),
        ("mutants", |_| mutate::check()),
        ("licences, sources and bans of dependencies", dependencies),
        ("clippy, kernel programs", clippy_bpf),
        ("clippy, host", clippy_host),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        shell::say(format_args!("check: {name}"));
        if let Err(error) = check(cache) {
            shell::say(format_args!("check: {name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        shell::say(format_args!("check: failed: {}", failed.join("; ")));
    }
    failed
}

fn format(_: &Cache) -> Result<()> {
    shell::run(cargo("fmt").args(["--all", "--check"]))
}

fn dependencies(cache: &Cache) -> Result<()> {
    let mut deny = Command::new(cargo_deny(cache)?);
    deny.args(["--log-level", "error", "check", "--hide-inclusion-graph"]);
    shell::run(deny.args(["bans", "licenses", "sources"]).current_dir(artifacts::root()))
}

fn clippy_bpf(cache: &Cache) -> Result<()> {
    shell::run(bpf_cargo(cache, "clippy")?.args(["--quiet", "--", "-D", "warnings"]))
}

fn clippy_host(cache: &Cache) -> Result<()> {
    // The daemon carries the object, so it is built before anything of the host.
    let object = artifacts::object(cache)?;
    let mut clippy = cargo("clippy");
    clippy.args(["--quiet", "--workspace", "--exclude", "agentid-ebpf", "--all-targets"]);
    shell::run(with_object(clippy.args(["--", "-D", "warnings"]), object.as_ref()))
}

/// Unit and property tests on the host.
pub fn host_tests(cache: &Cache, filter: &[String], bless: bool) -> Result<Tally> {
    let object = artifacts::object(cache)?;
    shell::say("test: unit and property tests");
    let mut command = cargo("test");
    command.args(["--quiet", "--workspace", "--exclude", "agentid-ebpf"]);
    // The guests' suite is a test target of its own.
    command.args(["--exclude", "agentid-tests", "--no-fail-fast"]);
    if bless {
        command.env("AGENTID_BLESS", "1");
    }
    command.arg("--").args(filter);
    with_object(&mut command, object.as_ref());
    let mut child = command.stdout(Stdio::piped()).spawn().context("failed to start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line.context("failed to read the output of cargo test")?;
        tally.read_line(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        std::io::stdout().write_all(&line).context("failed to pass the output on")?;
    }
    let status = child.wait().context("failed to wait for cargo test")?;
    if !status.success() && tally.failed == 0 {
        bail!("cargo test ended with {status}");
    }
    Ok(tally)
}

pub fn cargo(verb: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg(verb).current_dir(artifacts::root());
    command
}

fn with_object<'command>(
    command: &'command mut Command,
    object: Option<&PathBuf>,
) -> &'command mut Command {
    if let Some(object) = object {
        command.env("AGENTID_EBPF_OBJECT", object);
    }
    command
}

fn cargo_deny(cache: &Cache) -> Result<PathBuf> {
    let name = format!("cargo-deny-{DENY_VERSION}");
    let why = "checks the licences and sources of dependencies; five minutes";
    let folder = cache.folder(&name, why, |begun| {
        let mut install = Command::new("cargo");
        install.args(["install", "--quiet", "--locked", "cargo-deny", "--version", DENY_VERSION]);
        install.arg("--root").arg(begun).env("CARGO_TARGET_DIR", begun.join("build"));
        install.env_remove("RUSTFLAGS").current_dir(cache.path(""));
        shell::run_quiet(&mut install)?;
        std::fs::remove_dir_all(begun.join("build")).context("failed to remove its build")
    })?;
    Ok(folder.join("bin/cargo-deny"))
}
