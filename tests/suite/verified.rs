//! What the programs cost the verifier, which is where the next kernel may draw a line.

use std::{collections::BTreeMap, fs, process::Command};

use agentid_tests::harness::{cli::output, kernel};
use anyhow::{Context as _, Result};

const GOLDEN: &str = include_str!("../golden/verified.toml");
const AGENTIDD: &str = "/usr/bin/agentidd";
const PINS: &str = "/sys/fs/bpf/agentid-verify";

const HOOKS: &str = include_str!("../golden/hooks.txt");

/// Instructions by program.
type Counts = BTreeMap<String, u64>;

/// A program may take a quarter more than was recorded; whoever needs more records it anew and says why.
const fn budget(recorded: u64) -> u64 {
    recorded + recorded / 4
}

/// Each program is accepted, and within what was recorded for it.
#[test]
fn each_program_stays_within_its_budget() -> Result<()> {
    let text = output(Command::new(AGENTIDD).args(["verify", PINS]), &[0])?;
    fs::remove_dir(PINS).with_context(|| format!("failed to remove {PINS}"))?;
    let counts: Counts = toml::from_str(&text)?;
    let golden: BTreeMap<String, Counts> = toml::from_str(GOLDEN)?;
    let (major, minor) = kernel::release()?;
    let series = format!("{major}.{minor}");
    eprintln!("[\"{series}\"]\n{text}");
    let recorded = golden.get(&series).with_context(|| format!("nothing recorded for {series}"))?;
    let over: Vec<_> = counts
        .iter()
        .filter(|(name, count)| **count > recorded.get(*name).copied().map_or(0, budget))
        .collect();
    assert!(over.is_empty(), "more than recorded and a quarter, or not recorded: {over:?}");
    assert!(recorded.keys().eq(counts.keys()), "a recorded program is gone");
    Ok(())
}

/// The table of hooks in agentid-ebpf says how this kernel calls each: it is made of the same file.
#[test]
fn each_hook_is_called_as_the_table_says() -> Result<()> {
    let found = output(Command::new(AGENTIDD).arg("hooks"), &[0])?;
    let (major, minor) = kernel::release()?;
    let head = format!("[{major}.{minor}]");
    eprintln!("{head}\n{found}");
    let lines = HOOKS.lines().skip_while(|line| *line != head).skip(1);
    let recorded: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(!recorded.is_empty(), "nothing is recorded for {head}");
    assert_eq!(found.lines().collect::<Vec<_>>(), recorded);
    Ok(())
}
