//! What the verbs need from outside, and the cache it is kept in.
//!
//! Each need is met once: the finished thing is renamed into the cache, so that
//! one that was interrupted is begun again, and a second run touches no network.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// A program of the system, and the Debian package it comes in.
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
    pub why: &'static str,
}

pub const QEMU: Tool = Tool {
    program: "qemu-system-x86_64",
    package: "qemu-system-x86",
    why: "runs the guests; two minutes",
};
pub const MMDEBSTRAP: Tool =
    Tool { program: "mmdebstrap", package: "mmdebstrap", why: "builds the Debian guest's root" };
pub const MKE2FS: Tool =
    Tool { program: "mke2fs", package: "e2fsprogs", why: "makes the Debian guest's disk" };

pub const PIP: Tool = Tool {
    program: "pip3",
    package: "python3-pip",
    why: "fetches the fuzzer that the API is tested with; a minute",
};

/// The cache folder, held by one xtask at a time while things are installed.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn open() -> Result<Self> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let folder = std::env::var_os("AGENTID_CACHE").map(PathBuf::from).or_else(|| {
            let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
            Some(base.join("agentid"))
        });
        let folder = folder.context("no cache folder: set AGENTID_CACHE")?;
        fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let folder = fs::canonicalize(folder).context("failed to resolve the cache folder")?;
        Ok(Self { folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder `name`, made by `make` if it is not there. `make` gets an empty
    /// folder, which becomes `name` when it succeeds.
    pub fn folder(
        &self,
        name: &str,
        why: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let done = self.path(name);
        if done.is_dir() {
            return Ok(done);
        }
        let _lock = self.lock()?;
        if done.is_dir() {
            return Ok(done);
        }
        shell::say(format_args!("setup: {name} ({why})"));
        let begun = self.path(&format!("{name}.begun"));
        shell::fresh_folder(&begun)?;
        make(&begun).with_context(|| format!("failed to set up {name}"))?;
        fs::rename(&begun, &done).with_context(|| format!("failed to keep {}", done.display()))?;
        Ok(done)
    }

    /// Waits for another xtask that installs something.
    pub fn lock(&self) -> Result<File> {
        let file = File::create(self.path("lock")).context("failed to create the cache's lock")?;
        if file.try_lock().is_err() {
            shell::say("setup: waiting for another xtask that uses the cache");
            file.lock().context("failed to lock the cache")?;
        }
        Ok(file)
    }
}

/// Installs the packages of those tools that are missing.
pub fn tools(wanted: &[&Tool]) -> Result<()> {
    let missing: Vec<&&Tool> =
        wanted.iter().filter(|tool| shell::find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    let names: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    let names = names.join(", ");
    if shell::find("apt-get").is_none() {
        bail!("{names} not found; install it (on Debian: {by_hand})");
    }
    let Some(mut update) = shell::as_root("apt-get") else {
        bail!("{names} not found and no root; type: sudo {by_hand}");
    };
    for tool in &missing {
        shell::say(format_args!("setup: {} ({})", tool.package, tool.why));
    }
    shell::run_quiet(update.arg("update"))?;
    let mut install = shell::as_root("apt-get").unwrap_or_else(|| Command::new("apt-get"));
    install.args(["install", "-y", "--no-install-recommends"]).args(&packages);
    shell::run_quiet(install.env("DEBIAN_FRONTEND", "noninteractive"))
        .with_context(|| format!("type: sudo {by_hand}"))?;
    Ok(())
}
