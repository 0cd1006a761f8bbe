//! A btrfs has trees of its own in it, subvolumes, that number their files alike and can be mounted apart.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        run::Terms,
        scene::{USER, USERS},
    },
    step::{Open, Step},
};
use anyhow::Result;
use libc::EACCES;

use super::{
    await_reason, await_rules,
    made::{Image, Kind, Mounted, done, program},
    open,
};

/// A scene whose policy `trees` grants reading `work/dir` of what will be mounted at `btrfs`, and a folder in a copy of it.
fn scene() -> Result<(Scene, PathBuf)> {
    let scene = Scene::new()?;
    let top = scene.path().join("btrfs");
    fs::create_dir(&top)?;
    let text = format!(
        "name = \"trees\"\nttl = \"2h\"\non_end = \"deny\"\nparams = [\"workspace\"]\n\
         [[file]]\npaths = [\"/usr/bin/agentid-probe\"]\nallow = [\"read\", \"exec\"]\n\
         [[file]]\npaths = [\"${{workspace}}/**\", \"{top}/work/dir/**\"]\nallow = [\"read\"]\n\
         [[file]]\npaths = [\"**/secret\", \"{top}/work/dir/copy/dir/hidden\"]\ndeny = \"all\"\n",
        top = top.display(),
    );
    fs::write(scene.path().join("policies/trees.toml"), text)?;
    Ok((scene, top))
}

fn tree(action: &[&str], paths: &[&Path]) -> Result<()> {
    done(program("bin/btrfs").arg("subvolume").args(action).args(paths))
}

/// A subvolume with a folder `dir`, and files in that.
fn subvolume(scene: &Scene, path: &Path) -> Result<()> {
    tree(&["create"], &[path])?;
    fs::create_dir(path.join("dir"))?;
    ["a", "hidden", "secret"].iter().try_for_each(|name| scene.file(&path.join("dir").join(name)))
}

/// P2: a file in a subvolume or in a snapshot is judged by where it lies, as in a folder. Another subvolume is another
/// place, also where its files have the same numbers.
#[test]
fn judges_subvolumes_and_snapshots_by_where_they_lie() -> Result<()> {
    let (scene, top) = scene()?;
    let image = Image::make(&scene, "trees", Kind::Btrfs)?;
    let mounted = image.mount(&scene, &top)?;
    let [work, other, copy] = ["work", "other", "copy"].map(|name| top.join(name));
    // Both are made before either is filled, so that what is in them is of one transaction.
    tree(&["create"], &[&work])?;
    tree(&["create"], &[&other])?;
    for tree in [&work, &other] {
        fs::create_dir(tree.join("dir"))?;
        for name in ["a", "hidden", "secret"] {
            scene.file(&tree.join("dir").join(name))?;
        }
    }
    tree(&["snapshot"], &[&work, &copy])?;
    tree(&["snapshot"], &[&other, &work.join("dir/copy")])?;
    let facts = |path: &Path| fs::metadata(path.join("dir"));
    let (ours, theirs, copied) = (facts(&work)?, facts(&other)?, facts(&copy)?);
    assert_eq!((ours.ino(), ours.ino()), (theirs.ino(), copied.ino()), "they are numbered alike");
    assert_ne!(ours.dev(), theirs.dev());
    assert_ne!(ours.dev(), fs::metadata(&top)?.dev());

    let daemon = Daemon::start_in(scene)?;
    for uid in USERS {
        let terms = Terms { uid, policy: "trees", ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        let expected = [
            (work.join("dir/a"), 0),
            (work.join("dir/hidden"), 0),
            (work.join("dir/secret"), EACCES),
            (other.join("dir/a"), EACCES),
            (copy.join("dir/a"), EACCES),
            // A snapshot within what is granted.
            (work.join("dir/copy/dir/a"), 0),
            (work.join("dir/copy/dir/hidden"), EACCES),
            (work.join("dir/copy/dir/secret"), EACCES),
        ];
        for (path, errno) in expected {
            assert_eq!(run.errno(&open(&path, Open::Read))?, errno, "uid {uid}: {path:?}");
        }
    }
    // Before the folder that it is mounted in goes with the daemon.
    drop(mounted);
    Ok(())
}

/// P2: what is mounted elsewhere is the same place, and a subvolume that is mounted below a granted folder is granted there
/// and its neighbours are not.
#[test]
fn a_subvolume_is_the_same_place_wherever_it_is_mounted() -> Result<()> {
    let (scene, top) = scene()?;
    let image = Image::make(&scene, "trees", Kind::Btrfs)?;
    let mounted = image.mount(&scene, &top)?;
    for name in ["work", "other", "third"] {
        subvolume(&scene, &top.join(name))?;
    }
    let elsewhere = scene.path().join("elsewhere");
    let shown = mounted.subvolume("work", &elsewhere)?;
    let daemon = Daemon::start_in(scene)?;
    let mut run = Run::launch(&daemon, &Terms { uid: USER, policy: "trees", ..Terms::default() })?;
    assert_eq!(run.errno(&open(&elsewhere.join("dir/a"), Open::Read))?, 0);
    assert_eq!(run.errno(&open(&elsewhere.join("dir/secret"), Open::Read))?, EACCES);
    drop(run);

    let mut run = Run::of(&daemon, USER)?;
    let inside = daemon.scene().workspace().join("tree");
    let granted = mounted.subvolume("other", &inside)?;
    await_rules(&mut run, &inside)?;
    assert_eq!(run.errno(&open(&inside.join("dir/a"), Open::Read))?, 0);
    assert_eq!(run.errno(&open(&inside.join("dir/secret"), Open::Read))?, EACCES);
    // By another way.
    assert_eq!(run.errno(&open(&top.join("other/dir/a"), Open::Read))?, 0);
    for neighbour in ["work", "third"] {
        let path = top.join(neighbour).join("dir/a");
        assert_eq!(run.errno(&open(&path, Open::Read))?, EACCES, "{path:?}");
    }
    assert_eq!(run.errno(&Step::List(top.clone()))?, EACCES);
    await_reason(&daemon, &run, "no_rule")?;
    for mount in [granted, shown, mounted] {
        drop::<Mounted>(mount);
    }
    Ok(())
}
