//! `cargo xtask abi` and `bless`: golden files written anew, for a review of the difference.

use std::process::Command;

use anyhow::Result;

use crate::setup::Cache;
use crate::{artifacts, check, hooks, shell};

/// The golden of the layouts that kernel and daemon share: tests with `abi` in their name.
pub fn abi() -> Result<u8> {
    rewrite(&["abi".to_owned()])
}

/// All goldens.
pub fn bless() -> Result<u8> {
    hooks::bless()?;
    rewrite(&[])
}

fn rewrite(filter: &[String]) -> Result<u8> {
    let tally = check::host_tests(&Cache::open()?, filter, true)?;
    let mut changed = Command::new("git");
    changed
        .args(["status", "--short", "--", "**/golden/**", hooks::FILE])
        .current_dir(artifacts::root());
    let changed = shell::run_quiet(&mut changed)?;
    if changed.is_empty() {
        shell::say("golden: nothing changed");
    } else {
        shell::say(format_args!("golden: changed, look at them with git diff\n{changed}"));
    }
    Ok(u8::from(tally.failed > 0))
}
