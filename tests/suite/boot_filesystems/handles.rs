//! Files that no path leads to, or that have left the place that it led to.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use agentid_tests::{
    handle::Handle,
    harness::scene::USERS,
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, ENOENT};

use super::{
    Stage, await_reason, await_rules,
    made::{Image, Kind, Mounted},
};

/// P2: a file that was opened by its handle is judged by where it lies, and denied where that cannot be told: when the
/// kernel has not gone to it from the root of its filesystem.
#[test]
fn a_handle_leads_where_the_rules_do() -> Result<()> {
    let mut stage = Stage::with_policy("unbound", &[0])?;
    let inside = stage.work.join("image");
    let image = Image::make(&stage.place, "image", Kind::Ext4)?;
    let mounted = image.mount(&stage.place, &inside)?;
    fs::create_dir(inside.join("dir"))?;
    let file = inside.join("dir/a");
    stage.place.file(&file)?;
    let by_handle = |folder: &Path, handle: &Handle| Step::OpenByHandle {
        folder: folder.to_owned(),
        handle: handle.clone(),
    };
    let step = by_handle(&inside, &Handle::of(&file)?);
    let run = &mut stage.runs[0];
    await_rules(run, &inside)?;
    assert_eq!(run.errno(&step)?, 0);
    mounted.unmount()?;

    // Now nothing has asked for it by its path yet.
    let _mounted = image.mount(&stage.place, &inside)?;
    await_rules(run, &inside)?;
    assert_eq!(run.errno(&step)?, EACCES);
    await_reason(&stage.daemon, run, "disconnected")?;

    let beside = by_handle(&stage.work, &Handle::of(&stage.outside.join("a"))?);
    assert_eq!(run.errno(&beside)?, EACCES);
    await_reason(&stage.daemon, run, "no_rule")?;
    Ok(())
}

impl Stage {
    fn keep(&mut self, path: &Path) -> Result<()> {
        let step = Step::Keep { path: path.to_owned(), how: Open::Read };
        assert_eq!(self.runs[0].errno(&step)?, 0, "{path:?}");
        Ok(())
    }

    fn again(&mut self, how: Open) -> Result<i32> {
        self.runs[0].errno(&Step::OpenKept(how))
    }

    fn below(&mut self, path: &str, how: Open) -> Result<i32> {
        self.runs[0].errno(&Step::OpenBelowKept { path: path.into(), how })
    }
}

/// P2: a file that was deleted while it was open is judged by the name that it had last.
#[test]
fn a_deleted_file_is_where_it_was_last() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(&[uid])?;
        let (file, elsewhere) = (stage.work.join("gone"), stage.outside.join("gone"));
        let ends: [(&dyn Fn() -> Result<()>, i32); 4] = [
            (&|| Ok(fs::remove_file(&file)?), 0),
            (&|| renamed_and_deleted(&file, &stage.work.join("other")), 0),
            (&|| renamed_and_deleted(&file, &stage.work.join("secret")), EACCES),
            (&|| renamed_and_deleted(&file, &elsewhere), EACCES),
        ];
        for (number, (end, errno)) in ends.into_iter().enumerate() {
            stage.place.file(&file)?;
            let keep = Step::Keep { path: file.clone(), how: Open::Read };
            assert_eq!(stage.runs[0].errno(&keep)?, 0);
            end()?;
            for how in [Open::Read, Open::Write] {
                let found = stage.runs[0].errno(&Step::OpenKept(how))?;
                assert_eq!(found, errno, "uid {uid}: way {number}");
            }
        }
        // A folder that is gone takes nothing in.
        let folder = stage.work.join("folder");
        fs::create_dir(&folder)?;
        stage.place.open_to_all(&folder)?;
        stage.keep(&folder)?;
        fs::remove_dir(&folder)?;
        assert_eq!(stage.below("new", Open::Create)?, ENOENT);
        assert_eq!(stage.again(Open::Read)?, 0);
    }
    Ok(())
}

fn renamed_and_deleted(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)?;
    Ok(fs::remove_file(to)?)
}

/// P2: what is moved out of a folder that was bound elsewhere has left what is granted, for who has it open too; and what is
/// above it then is no way out.
#[test]
fn what_is_moved_out_of_a_bound_folder_has_left() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(&[uid])?;
        let (bound, shown) = (stage.work.join("bound"), stage.place.path().join("shown"));
        for folder in [&bound, &shown] {
            fs::create_dir(folder)?;
            stage.place.open_to_all(folder)?;
        }
        let inner = bound.join("inner");
        fs::create_dir(&inner)?;
        stage.place.file(&inner.join("a"))?;
        stage.place.file(&bound.join("a"))?;
        let mounted = Mounted::bind(&bound, &shown)?;
        let left = stage.outside.join("inner");
        // What has left the folder that is bound has nothing above it for who came by the mount (fs/namei.c:
        // `path_connected`), and who did not goes on to the outside.
        for (way, above) in [(&shown, ENOENT), (&bound, EACCES)] {
            stage.keep(&way.join("inner"))?;
            assert_eq!(stage.below("a", Open::Read)?, 0);
            assert_eq!(stage.below("../a", Open::Read)?, 0);
            fs::rename(&inner, &left)?;
            assert_eq!(stage.below("a", Open::Read)?, EACCES);
            assert_eq!(stage.below("../a", Open::Read)?, above);
            assert_eq!(stage.again(Open::Read)?, EACCES);
            fs::rename(&left, &inner)?;
            assert_eq!(stage.below("a", Open::Read)?, 0);
        }
        drop(mounted);
    }
    Ok(())
}

/// How many names lead from the root of its filesystem to a folder.
fn depth(folder: &Path) -> Result<usize> {
    let device = fs::metadata(folder)?.dev();
    let mut names = 0;
    for above in folder.ancestors().skip(1) {
        if fs::metadata(above)?.dev() != device {
            return Ok(names);
        }
        names += 1;
    }
    Ok(names)
}

/// P2: names as long as names can be, and places as deep as 127 names, are judged like others; what is deeper is denied, and
/// said to be.
#[test]
fn long_names_and_deep_places() -> Result<()> {
    const DEEPEST: usize = 127;
    for uid in USERS {
        let mut stage = Stage::new(&[uid])?;
        let long = "n".repeat(255);
        let folder = (0..8).fold(stage.work.clone(), |path, _| path.join(&long));
        fs::create_dir_all(&folder)?;
        for name in [long.as_str(), "secret"] {
            stage.place.file(&folder.join(name))?;
        }
        let mut check = |path: PathBuf, errno: i32| -> Result<()> {
            let found = stage.runs[0].errno(&Step::Open { path: path.clone(), how: Open::Read })?;
            assert_eq!(found, errno, "uid {uid}: {path:?}");
            Ok(())
        };
        check(folder.join(&long), 0)?;
        check(folder.join("secret"), EACCES)?;

        let room = DEEPEST - depth(&stage.work)?;
        let at = |names: usize| (1..names).fold(stage.work.clone(), |path, _| path.join("d"));
        fs::create_dir_all(at(room + 1))?;
        for (names, errno) in [(120.min(room), 0), (room, 0), (room + 1, EACCES)] {
            let folder = at(names);
            for name in ["a", "secret"] {
                stage.place.file(&folder.join(name))?;
            }
            check(folder.join("a"), errno)?;
            check(folder.join("secret"), EACCES)?;
        }
        await_reason(&stage.daemon, &stage.runs[0], "too_deep").context("it is not said")?;
        assert_eq!(stage.runs[0].totals(&stage.daemon)?.faults, 0);
    }
    Ok(())
}
