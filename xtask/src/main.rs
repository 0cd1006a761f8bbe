//! The project's own commands. Each installs what it needs first.

mod apt;
mod artifacts;
mod cpio;
mod debian;
mod guest;
mod image;
mod kernels;
mod qemu;
mod setup;
mod shell;
mod sources;
mod toolchain;
mod vm;
#[path = "../../tests/src/bin/guest-init/wire.rs"]
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about, long_about = None, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a command, or a shell, in a guest in which the daemon already runs
    Vm(vm::Options),
    /// Build the kernel programs, the static binaries and the guests' test suite
    Build,
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
        Verb::Vm(options) => vm::run(options),
        Verb::Build => artifacts::build(&setup::Cache::open()?).map(|_| 0),
    }
}
