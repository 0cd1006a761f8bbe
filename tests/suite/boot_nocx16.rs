//! Boots with a processor that lacks cmpxchg16b (`xtask/src/suite/plan.rs` has the kernel argument).

use std::fs;

use agentid_tests::harness::{Daemon, Scene, kernel, scene::PINS};
use anyhow::{Result, ensure};

/// P9: where task storage needs the instruction the daemon refuses and names it; elsewhere it starts and enforces.
#[test]
fn a_processor_without_cmpxchg16b_is_refused_where_tags_need_it() -> Result<()> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    ensure!(!processors.contains(" cx16 "), "this boot is another one: {processors}");
    let scene = Scene::new()?;
    if kernel::release()? < (7, 0) {
        assert_eq!(Daemon::start_in(scene)?.status()?.posture, "enforcing");
        return Ok(());
    }
    let said = scene.refused_start()?;
    assert!(said.contains("the processor has no cmpxchg16b"), "{said}");
    assert!(said.contains("`cx16`"), "{said}");
    assert!(!fs::exists(PINS)?);
    Ok(())
}
