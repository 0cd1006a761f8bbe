//! Files are opened by location, and only as granted.

use std::{fs, os::unix::fs::PermissionsExt as _};

use agentid_tests::{
    harness::{Daemon, Run, run::Terms, scene::USERS, view::What, wait},
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, EAGAIN, EPERM};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

fn open(path: impl Into<std::path::PathBuf>, how: Open) -> Step {
    Step::Open { path: path.into(), how }
}

/// P2, P10: the file modes let everyone in; the policy does not.
#[test]
fn opens_what_is_granted_and_nothing_else() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let new = |folder: std::path::PathBuf| folder.join(format!("new-{uid}"));
        for (step, errno) in [
            (open(scene.granted(), Open::Read), 0),
            (open(scene.granted(), Open::Write), 0),
            (open(new(scene.workspace()), Open::Create), 0),
            (open(scene.workspace().join("secret"), Open::Read), EACCES),
            (open(scene.denied(), Open::Read), EACCES),
            (open(scene.denied(), Open::Write), EACCES),
            (open(new(scene.outside()), Open::Create), EACCES),
            (open("/etc/passwd", Open::Read), EACCES),
            (open("/proc/self/status", Open::Read), EACCES),
        ] {
            assert_eq!(run.errno(&step)?, errno, "uid {uid}: {step:?}");
        }
    }
    Ok(())
}

/// P2: whoever is told what others do in a folder reads it.
#[test]
fn is_told_only_of_what_it_may_read() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for (path, errno) in [
            (scene.workspace(), 0),
            (scene.granted(), 0),
            (scene.denied(), EACCES),
            (scene.outside(), EACCES),
            ("/etc".into(), EACCES),
        ] {
            let step = Step::Follow(path);
            assert_eq!(run.errno(&step)?, errno, "uid {uid}: {step:?}");
        }
    }
    Ok(())
}

/// P10: beside the run, the same files are as open as ever.
#[test]
fn leaves_untagged_processes_alone() -> Result<()> {
    let daemon = Daemon::shared()?;
    let _run = Run::of(&daemon, 0)?;
    assert!(std::fs::read(daemon.scene().denied()).is_ok());
    assert!(std::fs::write(daemon.scene().denied(), "more").is_ok());
    Ok(())
}

/// P2: another name for the same place changes nothing.
#[test]
fn judges_the_place_and_not_the_path() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let work = scene.workspace();
    std::os::unix::fs::symlink(scene.denied(), work.join("link"))?;
    std::os::unix::fs::symlink(scene.granted(), scene.outside().join("link"))?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for (path, errno) in [
            (work.join("link"), EACCES),
            (work.join("../outside/a"), EACCES),
            (scene.outside().join("link"), 0),
            (scene.outside().join("../workspace/a"), 0),
        ] {
            assert_eq!(run.errno(&open(&path, Open::Read))?, errno, "uid {uid}: {path:?}");
        }
    }
    Ok(())
}

/// P2: the kernel hands nobody a file that they may not open, neither does it for a watch on what others open.
#[test]
fn no_watch_hands_a_file_over() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let mut run = Run::launch(&daemon, &Terms { policy: "unbound", ..Terms::default() })?;
    let secret = scene.workspace().join("secret");
    fs::write(&secret, "nobody's")?;
    for (path, errno) in [(scene.granted(), 0), (secret, EACCES)] {
        let folder = path.parent().context("a file without a folder")?;
        assert_eq!(run.errno(&Step::Watch(folder.into()))?, 0);
        assert_eq!(run.errno(&Step::ReadWatched)?, EAGAIN);
        drop(std::fs::File::open(&path)?);
        assert_eq!(run.errno(&Step::ReadWatched)?, errno, "{path:?}");
    }
    Ok(())
}

/// P2, P8: a device node in a granted folder, whoever has put it there, gives nothing but what everybody has.
#[test]
fn no_device_is_had_by_a_name_in_a_granted_folder() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (byte, block) = (SFlag::S_IFCHR, SFlag::S_IFBLK);
    let nodes = [
        ("null", byte, (1, 3), 0),
        ("urandom", byte, (1, 9), 0),
        ("memory", byte, (1, 1), EPERM),
        ("log", byte, (1, 11), EPERM),
        ("console", byte, (5, 1), EPERM),
        ("disk-of-memory", block, (1, 0), EPERM),
        ("loop", block, (7, 0), EPERM),
        // What the numbers of `null` stand for among disks.
        ("no-null", block, (1, 3), EPERM),
    ];
    let work = daemon.scene().workspace();
    for (name, kind, (major, minor), _) in nodes {
        let path = work.join(name);
        mknod(&path, kind, Mode::empty(), makedev(major, minor))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for (name, .., errno) in nodes {
            for how in [Open::Read, Open::Write] {
                let step = open(work.join(name), how);
                assert_eq!(run.errno(&step)?, errno, "uid {uid}: {step:?}");
            }
            let verdict = daemon.why_open(run.id(), &work.join(name), None)?.verdict;
            assert_eq!(verdict, if errno == 0 { "allow" } else { "deny" }, "uid {uid}: {name}");
        }
        let by_reason = |event: &agentid_tests::harness::view::Event| match &event.what {
            What::Access(access) => access.reason.as_deref() == Some("device_node"),
            What::Stopped(_) | What::Ended(_) | What::Other => false,
        };
        wait::until("the records are there", wait::SOON, || {
            let found = daemon.events(run.id())?.iter().filter(|event| by_reason(event)).count();
            Ok((found == 12).then_some(()))
        })?;
    }
    Ok(())
}
