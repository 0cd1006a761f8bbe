//! Names are made, taken and changed only as granted, and no name brings a file a right that it does not have.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{
        Daemon, Place, Run, Shared,
        adjust::mount_at,
        run::Terms,
        scene::USERS,
        view::{Object, What},
        wait,
    },
    step::{Change, Open, Step},
};
use anyhow::Result;
use libc::{EACCES, EPERM, EXDEV};
use nix::mount::{MntFlags, umount2};

struct Stage {
    /// Dropped before the daemon, which it belongs to.
    run: Run,
    daemon: Shared,
    work: PathBuf,
    outside: PathBuf,
    _place: Place,
}

impl Stage {
    /// Fresh folders and files, and a run of this user.
    fn new(uid: u32) -> Result<Self> {
        let daemon = Daemon::shared()?;
        let place = Place::below(daemon.scene().path())?;
        let (work, outside) = (place.workspace(), place.outside());
        for folder in ["bin", "fixed", "dir/two", "one", "empty"] {
            fs::create_dir_all(work.join(folder))?;
            place.open_to_all(&work.join(folder))?;
        }
        place.open_to_all(&work.join("dir"))?;
        for file in ["b", "bin/tool", "fixed/f", "dir/two/x", "dir/secret"] {
            place.file(&work.join(file))?;
        }
        fs::create_dir(outside.join("empty"))?;
        place.open_to_all(&outside.join("empty"))?;
        let terms = Terms { policy: "named", uid, workspace: Some(&work), ..Terms::default() };
        let run = Run::launch(&daemon, &terms)?;
        Ok(Self { run, daemon, work, outside, _place: place })
    }

    #[track_caller]
    fn check(&mut self, change: Change, errno: i32) -> Result<()> {
        assert_eq!(self.run.errno(&Step::Change(change.clone()))?, errno, "{change:?}");
        Ok(())
    }
}

/// P2: a name is made where `create` is granted, and taken away where `delete` is.
#[test]
fn makes_and_takes_names_only_where_granted() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let (work, outside) = (stage.work.clone(), stage.outside.clone());
        let make: [fn(PathBuf) -> Change; 4] =
            [Change::Folder, Change::Fifo, Change::Socket, Change::Symlink];
        for (number, make) in make.into_iter().enumerate() {
            let name = format!("new-{number}");
            stage.check(make(work.join(&name)), 0)?;
            stage.check(make(outside.join(&name)), EACCES)?;
            stage.check(make(work.join("empty/secret")), EACCES)?;
            assert!(fs::symlink_metadata(work.join(&name)).is_ok());
            assert!(fs::symlink_metadata(outside.join(&name)).is_err(), "{name} was made");
        }
        stage.check(Change::Rmdir(work.join("new-0")), 0)?;
        stage.check(Change::Unlink(work.join("new-1")), 0)?;
        stage.check(Change::Unlink(work.join("fixed/f")), EACCES)?;
        stage.check(Change::Unlink(work.join("dir/secret")), EACCES)?;
        stage.check(Change::Unlink(outside.join("a")), EACCES)?;
        stage.check(Change::Rmdir(outside.join("empty")), EACCES)?;
        for kept in [work.join("fixed/f"), work.join("dir/secret"), outside.join("a")] {
            assert!(kept.exists(), "{} is gone", kept.display());
        }
        // An open that would make a file makes none.
        let step = Step::Open { path: outside.join("made"), how: Open::Create };
        assert_eq!(stage.run.errno(&step)?, EACCES);
        assert!(!outside.join("made").exists());
    }
    Ok(())
}

/// P2: a run makes no device node, also where it may make files: a node gives what its number stands for.
#[test]
fn makes_no_device_node() -> Result<()> {
    let mut stage = Stage::new(0)?;
    let (node, left) = (stage.work.join("null"), stage.work.join("left"));
    stage.check(Change::Device(node.clone()), EPERM)?;
    stage.check(Change::Whiteout { from: stage.work.join("b"), to: left }, EPERM)?;
    assert!(!node.exists() && stage.work.join("b").exists());
    Ok(())
}

/// Where the host's message queues are shown; gone with its guard.
struct Queues(PathBuf);

impl Queues {
    fn mounted() -> Result<Self> {
        let at = PathBuf::from("/dev/mqueue");
        fs::create_dir_all(&at)?;
        mount_at("mqueue", &at)?;
        Ok(Self(at))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A queue of this user's, made by nobody's run.
    fn make(&self, name: &str, uid: u32) -> Result<()> {
        File::create(self.path(name))?;
        Ok(chown(self.path(name), Some(uid), Some(uid))?)
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        for name in ["agentid-granted", "agentid-used", "agentid-other"] {
            if let Err(error) = fs::remove_file(self.path(name))
                && error.kind() != ErrorKind::NotFound
            {
                eprintln!("{name} is left: {error}");
            }
        }
        if let Err(errno) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("{} is not unmounted: {errno}", self.0.display());
        }
    }
}

/// P2: message queues are files of a filesystem of the kernel's, also for the calls that name them without a path: one that
/// is refused is not there afterwards, and one that may not be taken away is.
#[test]
fn message_queues_are_made_opened_and_removed_only_as_granted() -> Result<()> {
    let queues = Queues::mounted()?;
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        queues.make("agentid-other", uid)?;
        stage.check(Change::Queue("/agentid-new".into()), EACCES)?;
        assert!(!queues.path("agentid-new").exists(), "a queue was made");
        stage.check(Change::Queue("/agentid-used".into()), EACCES)?;
        assert!(!queues.path("agentid-used").exists(), "a queue was made that may only be used");
        stage.check(Change::RemoveQueue("/agentid-other".into()), EACCES)?;
        assert!(queues.path("agentid-other").exists(), "a queue is gone");
        // By its path it is the same.
        stage.check(Change::Unlink(queues.path("agentid-other")), EACCES)?;
        let open = |name: &str| Step::Open { path: queues.path(name), how: Open::Read };
        assert_eq!(stage.run.errno(&open("agentid-other"))?, EACCES);
        queues.make("agentid-used", uid)?;
        assert_eq!(stage.run.errno(&open("agentid-used"))?, 0);
        stage.check(Change::RemoveQueue("/agentid-used".into()), EACCES)?;

        stage.check(Change::Queue("/agentid-granted".into()), 0)?;
        assert!(queues.path("agentid-granted").exists());
        stage.check(Change::RemoveQueue("/agentid-granted".into()), 0)?;
        assert!(!queues.path("agentid-granted").exists());
        for name in ["agentid-other", "agentid-used"] {
            fs::remove_file(queues.path(name))?;
        }
    }
    Ok(())
}

/// P2: what has no path is the run's own.
#[test]
fn changes_what_exists_in_memory_alone() -> Result<()> {
    for uid in USERS {
        Stage::new(uid)?.check(Change::Memory, 0)?;
    }
    Ok(())
}

/// P3: one more name for a file gives no right that its present one does not give.
#[test]
fn no_link_gives_a_right() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let (work, outside) = (stage.work.clone(), stage.outside.clone());
        let link = |from: &Path, to: &str| Change::Link { from: from.into(), to: work.join(to) };
        // The kernel itself lets nobody but root link what belongs to others (fs.protected_hardlinks).
        let own = work.join("own");
        let step = Step::Open { path: own.clone(), how: Open::Create };
        assert_eq!(stage.run.errno(&step)?, 0);
        stage.check(link(&own, "other"), 0)?;
        stage.check(link(&own, "bin/other"), EXDEV)?;
        stage.check(link(&own, "dir/secret/x"), libc::ENOTDIR)?;
        stage.check(link(&own, "empty/secret"), EACCES)?;
        stage.check(Change::Link { from: own.clone(), to: outside.join("other") }, EACCES)?;
        if uid != 0 {
            continue;
        }
        stage.check(link(&work.join("dir/secret"), "found"), EXDEV)?;
        stage.check(link(&outside.join("a"), "found"), EXDEV)?;
        stage.check(link(&work.join("fixed/f"), "found"), EXDEV)?;
        stage.check(link(&work.join("bin/tool"), "tool"), 0)?;
        let from = outside.join("a");
        stage.check(Change::LinkDescriptor { from, to: work.join("found") }, EXDEV)?;
        let temporary =
            |to: &str| Change::LinkTemporary { folder: work.join("empty"), to: work.join(to) };
        stage.check(temporary("named"), 0)?;
        stage.check(temporary("bin/named"), EXDEV)?;
        assert!(!work.join("found").exists() && !work.join("bin/named").exists());
    }
    Ok(())
}

/// P3: nor does another name, for a file or for anything in a folder.
#[test]
fn no_move_gives_a_right() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let (work, outside) = (stage.work.clone(), stage.outside.clone());
        let rename =
            |from: &str, to: &str| Change::Rename { from: work.join(from), to: work.join(to) };
        // Out of what is not granted, into what is not granted, and over what may not be deleted.
        stage.check(Change::Rename { from: outside.join("a"), to: work.join("x") }, EACCES)?;
        stage.check(Change::Rename { from: work.join("b"), to: outside.join("x") }, EACCES)?;
        stage.check(rename("dir/secret", "x"), EACCES)?;
        stage.check(rename("b", "empty/secret"), EACCES)?;
        stage.check(rename("b", "fixed/f"), EACCES)?;
        stage.check(rename("fixed/f", "x"), EACCES)?;
        // To where the file could be executed.
        stage.check(rename("b", "bin/b"), EXDEV)?;
        stage.check(rename("bin/tool", "tool"), 0)?;
        // A folder, to where something in it could be.
        stage.check(rename("dir", "bin/dir"), EXDEV)?;
        stage.check(rename("dir/two", "one/two"), EXDEV)?;
        stage.check(Change::Rmdir(work.join("one")), 0)?;
        stage.check(rename("dir", "one"), EXDEV)?;
        stage.check(rename("dir", "moved"), 0)?;
        let secret = Step::Open { path: work.join("moved/secret"), how: Open::Read };
        assert_eq!(stage.run.errno(&secret)?, EACCES);
        assert!(outside.join("a").exists() && !work.join("x").exists());
    }
    Ok(())
}

/// P3: an exchange is two moves.
#[test]
fn no_exchange_gives_a_right() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let work = stage.work.clone();
        let outside = stage.outside.join("a");
        let with = |from: &str, to: PathBuf| Change::Exchange { from: work.join(from), to };
        stage.check(with("a", work.join("b")), 0)?;
        stage.check(with("a", outside.clone()), EACCES)?;
        stage.check(with("a", work.join("bin/tool")), EXDEV)?;
        stage.check(with("bin/tool", work.join("a")), EXDEV)?;
        stage.check(with("a", work.join("dir/secret")), EACCES)?;
        stage.check(with("a", work.join("empty")), 0)?;
        stage.check(with("dir", work.join("one")), EXDEV)?;
        stage.check(Change::Exchange { from: outside, to: work.join("b") }, EACCES)?;
    }
    Ok(())
}

/// P7: what was refused has its name in the record, as it is seen on this host.
#[test]
fn records_the_name() -> Result<()> {
    let mut stage = Stage::new(1000)?;
    let (from, to) = (stage.work.join("b"), stage.work.join("bin/b"));
    stage.check(Change::Rename { from, to: to.clone() }, EXDEV)?;
    stage.check(Change::Folder(stage.outside.join("made")), EACCES)?;
    let made = stage.outside.join("made");
    let id = stage.run.id().to_owned();
    for (hook, reason, path) in
        [("path_rename", "rights_gained", to), ("path_mkdir", "no_rule", made)]
    {
        let told = || {
            let found = stage.daemon.events(&id)?.into_iter().any(|event| match event.what {
                What::Access(access) => {
                    let shown = Some(path.display().to_string());
                    access.hook == hook
                        && access.reason.as_deref() == Some(reason)
                        && matches!(access.object, Some(Object::File { path, .. }) if path == shown)
                }
                What::Stopped(_) | What::Ended(_) | What::Other => false,
            });
            Ok(found.then_some(()))
        };
        wait::until("the record is there", wait::SOON, told)?;
    }
    Ok(())
}

/// P10: beside the run everything is as ever.
#[test]
fn leaves_untagged_processes_alone() -> Result<()> {
    let stage = Stage::new(1000)?;
    let outside = &stage.outside;
    fs::create_dir(outside.join("d"))?;
    fs::rename(outside.join("d"), stage.work.join("bin/d"))?;
    fs::hard_link(outside.join("a"), stage.work.join("bin/a"))?;
    fs::remove_file(outside.join("a"))?;
    File::create(outside.join("a"))?.set_len(3)?;
    Ok(())
}
