//! The emulator: the system's own, or a newer one from the backports of the same Debian.
//!
//! What QEMU 10 emulates takes QEMU 7.2 nearly twice as long (143 seconds of a processor for 22 tests, and 80).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use crate::apt::Suite;
use crate::setup::{self, Cache, QEMU};
use crate::{qemu, shell, sources};

/// The major version from which on nothing newer is looked for.
const SWIFT: u32 = 10;
const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "usr/bin/qemu-system-x86_64";

/// Installs it if need be. With KVM, which emulates nothing, it is the system's own.
pub fn ready(cache: &Cache) -> Result<&'static Path> {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    setup::tools(&[&QEMU])?;
    Ok(READY.get_or_init(|| {
        let own = PathBuf::from(QEMU.program);
        if qemu::has_kvm() || major(&own).is_ok_and(|major| major >= SWIFT) {
            return own;
        }
        newer(cache).unwrap_or_else(|error| {
            shell::say(format_args!("setup: guests run on this system's own QEMU: {error:#}"));
            own
        })
    }))
}

fn newer(cache: &Cache) -> Result<PathBuf> {
    let suite = format!("{}-backports", sources::codename()?);
    let why = "emulates in half the time of this system's own; half a minute";
    let folder = cache.folder(&format!("qemu-{suite}"), why, |folder| {
        let suite = Suite::open(cache, &suite)?;
        suite.unpack(PACKAGE, folder)?;
        // Its libraries are those of the system's own, and it may have come to need more.
        let major = major(&folder.join(PROGRAM))?;
        anyhow::ensure!(major >= SWIFT, "QEMU {major} is no faster");
        Ok(())
    })?;
    Ok(folder.join(PROGRAM))
}

fn major(program: &Path) -> Result<u32> {
    let said = shell::run_quiet(Command::new(program).arg("--version"))?;
    let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1);
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.with_context(|| format!("{} does not say its version", program.display()))
}
