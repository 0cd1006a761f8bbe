//! Boots with full preemption (`xtask/src/suite.rs` has the kernel argument).

use std::fs;

use agentid_tests::harness::{Scene, scene::PINS};
use anyhow::{Context as _, Result, ensure};

/// P2, P9: before Linux 6.2 full preemption loses tags, so the daemon refuses; from then on no verdict is mixed up.
#[test]
fn full_preemption_is_refused_or_mixes_nothing_up() -> Result<()> {
    let command_line = fs::read_to_string("/proc/cmdline")?;
    ensure!(command_line.contains("preempt=full"), "this boot is another one: {command_line}");
    if !loses_tags()? {
        return crate::preemption::hammer();
    }
    let scene = Scene::new()?;
    let said = scene.refused_start()?;
    assert!(said.contains("full preemption loses task tags"), "{said}");
    assert!(said.contains("preempt=voluntary"), "{said}");
    assert!(!fs::exists(PINS)?);
    Ok(())
}

fn loses_tags() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    let number = |part: Option<Result<u32, _>>| part.context("a release without two numbers");
    Ok((number(major)??, number(minor)??) < (6, 2))
}
