//! A single file that is mounted over another.

use std::fs;

use agentid_tests::{
    harness::{adjust::mount_at, scene::USERS},
    step::Open,
};
use anyhow::Result;
use libc::EACCES;

use super::{Stage, await_reason, await_rules, made::Mounted, open};

/// P2: a single file that is mounted over another is judged by where it lies, and no rule reaches it by where it is shown.
#[test]
fn a_bound_file_is_judged_where_it_lies() -> Result<()> {
    let mut stage = Stage::new(&USERS)?;
    let (work, outside) = (&stage.work, &stage.outside);
    for file in [work.join("shown"), outside.join("shown"), work.join("alone")] {
        stage.place.file(&file)?;
    }
    let mut mounts = vec![
        Mounted::bind(&outside.join("a"), &work.join("shown"))?,
        Mounted::bind(&work.join("a"), &outside.join("shown"))?,
        Mounted::bind(&work.join("a"), &work.join("secret"))?,
    ];
    // One on a filesystem that cannot be seen otherwise.
    let hidden = stage.place.path().join("hidden");
    fs::create_dir(&hidden)?;
    mount_at("tmpfs", &hidden)?;
    let holder = Mounted::at(&hidden);
    stage.place.file(&hidden.join("a"))?;
    mounts.push(Mounted::bind(&hidden.join("a"), &work.join("alone"))?);
    drop(holder);
    // When the rules hold on what was mounted later, the daemon has seen these as well.
    let later = work.join("later");
    fs::create_dir(&later)?;
    mount_at("tmpfs", &later)?;
    mounts.push(Mounted::at(&later));
    for run in &mut stage.runs {
        await_rules(run, &later)?;
        for (path, errno) in [
            (work.join("shown"), EACCES),
            (outside.join("shown"), 0),
            (work.join("secret"), 0),
            (work.join("alone"), EACCES),
        ] {
            assert_eq!(run.errno(&open(&path, Open::Read))?, errno, "{path:?}");
        }
        await_reason(&stage.daemon, run, "no_rule")?;
        await_reason(&stage.daemon, run, "unknown_filesystem")?;
    }
    Ok(())
}
