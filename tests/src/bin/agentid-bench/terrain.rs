//! The files and ports that are measured on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// What the policy grants, and with it the programs that a held worker executes.
pub const GRANTED: &str = "/bench-granted";
/// What no policy names.
const OTHER: &str = "/bench-other";

/// Files eight names below the root of their filesystem.
pub const GRANTED_FILE: &str = "/bench-granted/2/3/4/5/6/7/file";
pub const OTHER_FILE: &str = "/bench-other/2/3/4/5/6/7/file";

/// This program, where a held worker may be executed.
pub const WORKER: &str = "/bench-granted/bin/agentid-bench";
/// A program that ends at once: static, and not this one, so that its start is short.
pub const TRUE: &str = "/bench-granted/bin/true";
const BUSYBOX: &str = "/bin/busybox";

/// Below the ports that the kernel gives out by itself.
pub const GRANTED_PORT: u16 = 7801;
pub const OTHER_PORT: u16 = 7802;

/// Folders that further rules are about.
pub fn ruled_folder(number: u16) -> String {
    format!("/bench-rules/{number}")
}

/// Makes all of it.
pub fn build() -> Result<()> {
    for file in [GRANTED_FILE, OTHER_FILE] {
        let folder = Path::new(file).parent().unwrap_or(Path::new(OTHER));
        fs::create_dir_all(folder).with_context(|| format!("failed to create {file}"))?;
        fs::write(file, "x").with_context(|| format!("failed to write {file}"))?;
    }
    fs::create_dir_all(format!("{GRANTED}/bin"))?;
    fs::copy("/proc/self/exe", WORKER).context("failed to copy this program")?;
    fs::copy(BUSYBOX, TRUE).with_context(|| format!("failed to copy {BUSYBOX}"))?;
    for number in 0..crate::rules::MOST {
        let folder = ruled_folder(number);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {folder}"))?;
    }
    Ok(())
}
