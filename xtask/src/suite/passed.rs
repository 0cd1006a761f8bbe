//! Boots whose tests have all passed, by all that goes into them: kernel, first root with every program, and arguments.
//!
//! The same bytes are not run again unless that is asked for, and never count as run: they are told and summed apart.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::artifacts;
use crate::tally::Tally;

fn file(fingerprint: &str) -> PathBuf {
    artifacts::target().join("passed").join(fingerprint)
}

/// How many tests have passed in this boot, if none has failed.
pub fn recall(fingerprint: &str) -> Option<usize> {
    fs::read_to_string(file(fingerprint)).ok()?.trim().parse().ok()
}

/// Keeps the result of a boot in which nothing failed.
pub fn keep(fingerprint: &str, tally: Tally) -> Result<()> {
    if tally.failed > 0 || tally.passed == 0 {
        return Ok(());
    }
    let file = file(fingerprint);
    let folder = file.parent().context("the file lies in no folder")?;
    fs::create_dir_all(folder).context("failed to create the folder of passed boots")?;
    fs::write(&file, format!("{}\n", tally.passed)).context("failed to keep a result")
}
