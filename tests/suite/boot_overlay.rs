//! A filesystem of layers is judged where the run sees it, and not once more where it keeps its files.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    slice,
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene, kernel,
        run::Terms,
        scene::{USER, USERS},
    },
    step::{Alter, Open, Step, Target},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, EOPNOTSUPP, EPERM};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Two overlays, one in the workspace and one beside it, whose layers nothing grants. Gone with its guard.
struct Overlays {
    folders: [PathBuf; 2],
}

impl Overlays {
    /// Each has these files of the test user in its lower layer.
    fn mount(scene: &Scene, files: &[String]) -> Result<Self> {
        let folders = [scene.workspace().join("merged"), scene.outside().join("merged")];
        let mut overlays = Self { folders };
        for (number, folder) in overlays.folders.iter_mut().enumerate() {
            let layers = scene.path().join(format!("layers-{number}"));
            let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
            for made in [&layers, &lower, &upper, &work, &*folder] {
                fs::create_dir(made)?;
                fs::set_permissions(made, Permissions::from_mode(0o755))?;
            }
            for file in files {
                scene.file_of_user(&lower.join(file))?;
            }
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.display(),
                upper.display(),
                work.display()
            );
            let flags = MsFlags::empty();
            mount(Some("overlay"), &*folder, Some("overlay"), flags, Some(options.as_str()))
                .with_context(|| format!("failed to mount an overlay at {}", folder.display()))?;
            chown(&*folder, Some(USER), Some(USER))?;
        }
        Ok(overlays)
    }

    fn granted(&self) -> &Path {
        &self.folders[0]
    }

    fn denied(&self) -> &Path {
        &self.folders[1]
    }
}

impl Drop for Overlays {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(errno) = umount2(folder, MntFlags::MNT_DETACH) {
                eprintln!("{} is not unmounted: {errno}", folder.display());
            }
        }
    }
}

/// Changes of a file that is in the lower layer alone, so that each copies it up; and what they give.
fn changes(uid: u32) -> Result<Vec<(Alter, i32)>> {
    let attribute = if kernel::release()? >= (6, 6) { 0 } else { EOPNOTSUPP };
    let mut changes = vec![
        (Alter::Length, 0),
        (Alter::Mode, 0),
        (Alter::Owner, 0),
        (Alter::Times, 0),
        (Alter::SetAttribute("user.test".to_owned()), attribute),
        (Alter::SetAcl, 0),
    ];
    if uid == 0 {
        changes.push((Alter::SetAttribute("trusted.test".to_owned()), 0));
    }
    Ok(changes)
}

/// P2: what is granted in the overlay works, also where the file has to be copied up first; the same in an overlay
/// beside the workspace, and in the layer, is denied.
#[test]
fn judges_the_overlay_and_not_its_layers() -> Result<()> {
    for uid in USERS {
        let changes = changes(uid)?;
        let names: Vec<_> = (0..=changes.len()).map(|number| format!("file-{number}")).collect();
        let daemon = Daemon::start()?;
        let overlays = Overlays::mount(daemon.scene(), &names)?;
        let upper = daemon.scene().path().join("layers-0/upper");
        // Root's own attributes are for who has `sys_admin`. A user has not, and what the overlay keeps about its files is
        // such an attribute as well.
        let policy = if uid == 0 { "unbound" } else { "fixture" };
        let mut run = Run::launch(&daemon, &Terms { policy, uid, ..Terms::default() })?;
        let mut check = |step: Step, errno: i32| -> Result<()> {
            assert_eq!(run.errno(&step)?, errno, "uid {uid}: {step:?}");
            Ok(())
        };
        let alter = |what: &Alter, path: PathBuf| {
            let file = Target::Path(path);
            Step::Alter { what: what.clone(), file }
        };
        check(Step::List(overlays.granted().into()), 0)?;
        check(Step::List(overlays.denied().into()), EACCES)?;
        for ((what, granted), name) in changes.iter().zip(&names) {
            check(alter(what, overlays.granted().join(name)), *granted)?;
            check(alter(what, overlays.denied().join(name)), EACCES)?;
            // The second time it is in the upper layer already.
            check(alter(what, overlays.granted().join(name)), *granted)?;
            assert!(upper.join(name).exists(), "{name} was not copied up");
            check(alter(what, upper.join(name)), EACCES)?;
        }
        let last = names.last().context("no file is left")?;
        let open = |path: &Path, how| Step::Open { path: path.join(last), how };
        check(open(overlays.granted(), Open::Read), 0)?;
        check(open(overlays.denied(), Open::Write), EACCES)?;
        check(open(overlays.granted(), Open::Write), 0)?;
        assert!(upper.join(last).exists(), "{last} was not copied up");
        check(open(&upper, Open::Read), EACCES)?;
        check(open(&upper, Open::Write), EACCES)?;
        drop(run);
        drop(overlays);
    }
    Ok(())
}

/// P4: a run that is over changes nothing there either.
#[test]
fn changes_nothing_in_an_overlay_after_revoke() -> Result<()> {
    let daemon = Daemon::start()?;
    let name = "file".to_owned();
    let overlays = Overlays::mount(daemon.scene(), slice::from_ref(&name))?;
    let mut run = Run::launch(&daemon, &Terms { uid: USER, ..Terms::default() })?;
    let path = overlays.granted().join(name);
    assert_eq!(run.errno(&Step::Keep { path: path.clone(), how: Open::Read })?, 0);
    daemon.revoke(run.id())?;
    for file in [Target::Path(path), Target::Kept] {
        let step = Step::Alter { what: Alter::Times, file };
        assert_eq!(run.errno(&step)?, EPERM, "{step:?}");
    }
    drop(run);
    drop(overlays);
    Ok(())
}
