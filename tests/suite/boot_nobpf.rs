//! Boots without `bpf` among the security modules (`xtask/src/suite/plan.rs` has its kernel arguments): threat A-8.

use std::fs;

use agentid_tests::harness::{Scene, scene::PINS};
use anyhow::Result;

/// P9: a kernel that cannot enforce is refused, with the remedy for its boot loader.
#[test]
fn refuses_a_kernel_without_the_bpf_lsm() -> Result<()> {
    let active = fs::read_to_string("/sys/kernel/security/lsm")?;
    assert!(!active.split(',').any(|name| name.trim() == "bpf"), "this boot has bpf: {active}");
    let scene = Scene::new()?;
    let said = scene.refused_start()?;
    assert!(said.contains("`bpf` is not among the active security modules"), "{said}");
    assert!(said.contains(&format!("lsm={},bpf", active.trim())), "{said}");
    assert!(!fs::exists(PINS)?);
    assert!(!fs::exists(scene.socket())?);
    Ok(())
}
