//! `cargo xtask demo`: the main job, with real programs, as an ordinary user.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::artifacts::{self, Artifacts};
use crate::cpio::HOME_UID;
use crate::guest::{Guest, Root};
use crate::kernels::Kernel;
use crate::setup::Cache;
use crate::{native, shell, vm};

/// The script, in agentid-daemon/dist/demo and in the guest's /usr/share/agentid/demo.
const SCRIPT: &str = "run";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The guest's kernel
    #[arg(long, value_name = "6.1|6.12|7.3|PATH", default_value = "6.12")]
    kernel: String,
    /// Run on this machine, whose agentid.service must be running
    #[arg(long)]
    native: bool,
}

pub fn run(options: &Options) -> Result<u8> {
    let cache = Cache::open()?;
    let script = artifacts::root().join("agentid-daemon/dist/demo").join(SCRIPT);
    if !script.is_file() {
        bail!("there is no demo: {} is missing", script.display());
    }
    let artifacts = artifacts::build(&cache)?;
    if options.native {
        return run_native(&artifacts, &script);
    }
    let kernel = Kernel::find(&cache, &options.kernel)?;
    let mut guest = Guest::bare(kernel, vec![format!("/usr/share/agentid/demo/{SCRIPT}")]);
    guest.root = Root::Debian;
    guest.uid = HOME_UID;
    guest.daemon = true;
    guest.timeout = Some(Duration::from_secs(600));
    shell::say("demo: a Debian guest with agentid.service; half a minute until it is up");
    guest.run(&cache, &artifacts, false, &mut vm::pass_on).map(vm::status)
}

fn run_native(artifacts: &Artifacts, script: &Path) -> Result<u8> {
    native::require()?;
    let programs = artifacts.binaries.get("agentid").context("agentid is not built")?;
    let folder = programs.parent().context("agentid lies in no folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path)),
    )?;
    let mut command = Command::new(script);
    if shell::is_root() {
        command.uid(HOME_UID).gid(HOME_UID);
    }
    let status = command.env("PATH", path).status().context("failed to start the demo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
