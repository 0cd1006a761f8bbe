//! `cargo xtask bench`: what enforcement costs, counted in executed instructions.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::artifacts;
use crate::bubblewrap;
use crate::guest::Guest;
use crate::kernels::Kernel;
use crate::setup::Cache;
use crate::vm;

/// A program of agentid-tests; it starts and stops the daemon itself.
const PROGRAM: &str = "agentid-bench";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The guest's kernel
    #[arg(long, value_name = "6.1|6.12|7.3|PATH", default_value = "6.12")]
    kernel: String,
    /// Memory, as QEMU writes it
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: String,
    /// Take what was built last as it is
    #[arg(long)]
    no_build: bool,
    /// For the program that measures: a part of the name of an operation, or `launch`, `ending` (and a kind of tree) or `many`
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(options: &Options) -> Result<u8> {
    let cache = Cache::open()?;
    let artifacts = if options.no_build { artifacts::last()? } else { artifacts::build(&cache)? };
    if !artifacts.binaries.contains_key(PROGRAM) {
        bail!("there is no {PROGRAM} in agentid-tests");
    }
    let kernel = Kernel::find(&cache, &options.kernel)?;
    let mut command = vec![format!("/usr/bin/{PROGRAM}")];
    command.extend(options.arguments.iter().cloned());
    let mut guest = Guest::bare(kernel, command);
    guest.machine.counting = true;
    guest.machine.memory = options.memory.clone();
    guest.added = bubblewrap::files(&cache)?;
    guest.timeout = Some(Duration::from_secs(3600));
    guest.run(&cache, &artifacts, false, &mut vm::pass_on).map(vm::status)
}
