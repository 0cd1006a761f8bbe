//! How much of what takes long is to be done, if not as much as usual.

use std::fs;

use anyhow::{Context as _, Result};

/// The number that `cargo xtask test` was asked for, which it passes on as an argument of the kernel, or the usual one.
pub fn asked(name: &str, usual: usize) -> Result<usize> {
    let line = fs::read_to_string("/proc/cmdline")?;
    let argument = format!("agentid.{name}=");
    let asked = line.split_whitespace().find_map(|word| word.strip_prefix(&argument));
    asked.map_or(Ok(usual), |number| {
        number.parse().with_context(|| format!("{argument}{number} is no number"))
    })
}
