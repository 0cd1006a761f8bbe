//! The project's own commands. Each installs what it needs first.

mod apt;
mod artifacts;
mod bench;
mod bubblewrap;
mod check;
mod cpio;
mod debian;
mod demo;
mod dist;
mod emulator;
mod floors;
mod fuzzer;
mod golden;
mod guest;
mod hooks;
mod image;
mod kernels;
mod makers;
mod mutate;
mod native;
mod qemu;
mod setup;
mod shell;
mod sources;
mod suite;
mod tally;
mod toolchain;
mod vm;
#[path = "../../tests/src/bin/guest-init/wire.rs"]
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::setup::Cache;

const CACHE: &str = "Downloads are kept in $AGENTID_CACHE, else $XDG_CACHE_HOME/agentid, else \
~/.cache/agentid; remove a folder there to have it fetched anew.";

/// The project's own commands; each installs what it needs first
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_help = CACHE, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the main job: an agent is tagged, held and revoked by a guest's kernel
    Demo(demo::Options),
    /// Run all tests: check, the host's, and the suite in guests on every kernel
    Test(suite::Options),
    /// Check format, lints, import floors and dependencies
    Check,
    /// Run a command, or a shell, in a guest in which the daemon already runs
    Vm(vm::Options),
    /// Measure in a guest what enforcement costs, in executed instructions
    Bench(bench::Options),
    /// Take checks out, and see the tests that guard them fail
    Mutate(mutate::Options),
    /// Write the golden file of the layouts that kernel and daemon share
    Abi,
    /// Write all golden files anew
    Bless,
    /// Build the kernel programs, the static binaries and the suite
    Build,
    /// Pack the static binaries, the unit and the policies into target/dist
    Dist,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            shell::say(format_args!("error: {error:#}"));
            ExitCode::from(vm::status::SETUP)
        }
    }
}

fn run(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Demo(options) => demo::run(&options),
        Verb::Test(options) => suite::run(&options),
        Verb::Check => Ok(u8::from(!check::run(&Cache::open()?).is_empty())),
        Verb::Vm(options) => vm::run(options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Mutate(options) => mutate::run(&options),
        Verb::Abi => golden::abi(),
        Verb::Bless => golden::bless(),
        Verb::Build => artifacts::build(&Cache::open()?).map(|_| 0),
        Verb::Dist => dist::run(),
    }
}
