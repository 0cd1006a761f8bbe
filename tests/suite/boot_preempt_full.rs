//! Boots with full preemption (`xtask/src/suite/plan.rs` has the kernel argument).

use std::fs;

use agentid_tests::harness::{Scene, kernel, scene::PINS};
use anyhow::{Result, ensure};

/// P2, P9: before Linux 6.2 full preemption loses tags, so the daemon refuses; from then on no verdict is mixed up.
#[test]
fn full_preemption_is_refused_or_mixes_nothing_up() -> Result<()> {
    let command_line = fs::read_to_string("/proc/cmdline")?;
    ensure!(command_line.contains("preempt=full"), "this boot is another one: {command_line}");
    if kernel::release()? >= (6, 2) {
        return crate::preemption::hammer();
    }
    let scene = Scene::new()?;
    let said = scene.refused_start()?;
    assert!(said.contains("full preemption loses task tags"), "{said}");
    assert!(said.contains("preempt=voluntary"), "{said}");
    assert!(!fs::exists(PINS)?);
    Ok(())
}
