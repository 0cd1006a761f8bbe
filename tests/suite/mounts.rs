//! Filesystems that come and go while policies are in force.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        adjust::mount_at,
        run::Terms,
        scene::{USER, USERS},
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::EACCES;
use nix::mount::{MntFlags, umount2};

/// A tmpfs, gone with its guard. It holds the files `a` and `secret`.
struct Mounted<'a> {
    scene: &'a Scene,
    point: PathBuf,
}

impl<'a> Mounted<'a> {
    fn at(scene: &'a Scene, point: PathBuf) -> Result<Self> {
        if !point.exists() {
            fs::create_dir(&point)?;
        }
        let mounted = Self { scene, point };
        mounted.mount()?;
        Ok(mounted)
    }

    fn mount(&self) -> Result<()> {
        mount_at("tmpfs", &self.point)?;
        self.scene.open_to_all(&self.point)?;
        self.scene.file(&self.point.join("a"))?;
        self.scene.file(&self.point.join("secret"))
    }

    fn unmount(&self) -> Result<()> {
        umount2(&self.point, MntFlags::MNT_DETACH)
            .with_context(|| format!("failed to unmount {}", self.point.display()))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{error:#}");
        }
    }
}

fn open(folder: &Path, name: &str, how: Open) -> Step {
    Step::Open { path: folder.join(name), how }
}

/// What is granted there becomes so within a deadline, and nothing else does.
fn is_covered(run: &mut Run, folder: &Path, how: Open) -> Result<()> {
    let covered = || Ok((run.errno(&open(folder, "a", how))? == 0).then_some(()));
    wait::until("rules hold on the new filesystem", wait::SOON, covered)?;
    assert_eq!(run.errno(&open(folder, "secret", Open::Read))?, EACCES, "a denial holds there too");
    Ok(())
}

/// A scene whose policy `laid` grants a folder beside the workspace by its path, and denies one file in it.
fn scene() -> Result<Scene> {
    let scene = Scene::new()?;
    let laid = scene.path().join("laid");
    fs::create_dir(&laid)?;
    let text = format!(
        "{}\n[[file]]\npaths = [\"{laid}/**\"]\nallow = [\"read\"]\n[[file]]\npaths = [\"{laid}/there/secret\"]\ndeny = \"all\"\n",
        Scene::POLICY
            .replace("\"fixture\"", "\"laid\"")
            .split("[[net]]")
            .next()
            .unwrap_or_default(),
        laid = laid.display(),
    );
    fs::write(scene.path().join("policies/laid.toml"), text)?;
    Ok(scene)
}

/// P2, P9: what is mounted below what a live run is granted is denied to it, until the rules are laid onto it.
#[test]
fn rules_hold_on_what_is_mounted_later() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let laid = daemon.scene().path().join("laid/there");
    let mut runs = USERS
        .map(|uid| Run::launch(&daemon, &Terms { uid, policy: "laid", ..Terms::default() }))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;

    let inside = Mounted::at(daemon.scene(), daemon.scene().workspace().join("later"))?;
    let by_path = Mounted::at(daemon.scene(), laid)?;
    let beside = Mounted::at(daemon.scene(), daemon.scene().outside().join("later"))?;
    for run in &mut runs {
        is_covered(run, &inside.point, Open::Write)?;
        is_covered(run, &by_path.point, Open::Read)?;
        assert_eq!(run.errno(&open(&by_path.point, "a", Open::Write))?, EACCES);
        assert_eq!(run.errno(&open(&beside.point, "a", Open::Read))?, EACCES);
    }

    // Another filesystem in the same place.
    inside.unmount()?;
    inside.mount()?;
    for run in &mut runs {
        is_covered(run, &inside.point, Open::Write)?;
        is_covered(run, &by_path.point, Open::Read)?;
    }
    Ok(())
}

/// P2: a run that is launched on a filesystem which was not there when its policy was compiled is held by all of its rules.
#[test]
fn a_launch_finds_what_was_mounted_before_it() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let terms = Terms { uid: USER, policy: "laid", ..Terms::default() };
    // Compiles it.
    drop(Run::launch(&daemon, &terms)?);

    let point = daemon.scene().path().join("laid/there");
    let mounted = Mounted::at(daemon.scene(), point)?;
    let mut run = Run::launch(&daemon, &Terms { workspace: Some(&mounted.point), ..terms })?;
    assert_eq!(run.errno(&open(&mounted.point, "a", Open::Write))?, 0);
    assert_eq!(run.errno(&open(&mounted.point, "secret", Open::Read))?, EACCES);
    Ok(())
}

/// P9: mounts that come and go leave nothing in the tables of a host whose runs have nothing to do with them.
#[test]
fn mounts_that_come_and_go_leave_nothing_behind() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut run = Run::launch(&daemon, &Terms { uid: USER, policy: "laid", ..Terms::default() })?;
    let used = || -> Result<Vec<(String, u64)>> {
        Ok(daemon.status()?.maps.into_iter().map(|map| (map.name, map.entries)).collect())
    };
    let before = used()?;
    let point = daemon.scene().workspace().join("later");
    for _ in 0..3 {
        let mounted = Mounted::at(daemon.scene(), point.clone())?;
        is_covered(&mut run, &mounted.point, Open::Write)?;
    }
    let same = || Ok((used()? == before).then_some(()));
    wait::until("the tables hold what they held before", wait::SOON, same)
        .with_context(|| format!("{before:?} before, {:?} now", used()))
}
