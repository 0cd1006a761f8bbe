//! A filesystem in a file, which a loop device makes a disk of.

use std::path::Path;

use agentid_tests::{
    harness::{Daemon, Run, scene::USERS},
    step::{Open, Step},
};
use anyhow::Result;
use libc::EACCES;

use super::{
    Stage, await_reason, await_rules,
    made::{Image, Kind},
    open,
};

/// P2: what is mounted below a granted folder is denied until the daemon has seen it, and granted then.
#[test]
fn an_image_is_denied_until_it_is_seen() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut runs =
        USERS.map(|uid| Run::of(&daemon, uid)).into_iter().collect::<Result<Vec<_>>>()?;
    let point = daemon.scene().workspace().join("image");
    let image = Image::make(daemon.scene(), "image", Kind::Ext4)?;
    // Nobody is there who could see it.
    daemon.stop()?;
    let mounted = image.mount(daemon.scene(), &point)?;
    daemon.scene().file(&point.join("a"))?;
    daemon.scene().file(&point.join("secret"))?;
    for run in &mut runs {
        assert_eq!(run.errno(&Step::List(point.clone()))?, EACCES);
        assert_eq!(run.errno(&open(&point.join("a"), Open::Read))?, EACCES);
        assert_eq!(run.errno(&open(&point.join("new"), Open::Create))?, EACCES);
    }
    daemon.start_again()?;
    for run in &mut runs {
        await_rules(run, &point)?;
        assert_eq!(run.errno(&open(&point.join("a"), Open::Write))?, 0);
        assert_eq!(run.errno(&open(&point.join("secret"), Open::Read))?, EACCES);
    }
    mounted.unmount()?;

    // The same image again is another filesystem, and it need not be what it was.
    daemon.stop()?;
    let _mounted = image.mount(daemon.scene(), &point)?;
    for run in &mut runs {
        assert_eq!(run.errno(&open(&point.join("a"), Open::Read))?, EACCES);
    }
    daemon.start_again()?;
    await_reason(&daemon, &runs[0], "unknown_filesystem")?;
    Ok(())
}

/// P2: the file that an image is in is a file, and the device that makes a disk of it is nobody's.
#[test]
fn the_disk_of_an_image_is_denied() -> Result<()> {
    let mut stage = Stage::new(&USERS)?;
    let point = stage.outside.join("image");
    let image = Image::make(&stage.place, "image", Kind::Ext4)?;
    let _mounted = image.mount(&stage.place, &point)?;
    stage.place.file(&point.join("a"))?;
    for run in &mut stage.runs {
        for path in [Path::new("/dev/loop0"), &point.join("a")] {
            assert_eq!(run.errno(&open(path, Open::Read))?, EACCES, "{path:?}");
        }
    }
    Ok(())
}
