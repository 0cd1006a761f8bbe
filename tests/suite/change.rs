//! A file is not changed without an open either, by its path or through a descriptor.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{
        Daemon, Place, Run, Shared, kernel,
        run::Terms,
        scene::{USER, USERS},
    },
    step::{Alter, Open, Step, Target},
};
use anyhow::Result;
use libc::{EACCES, ENODATA, ENOSYS, EOPNOTSUPP, EPERM};

/// Every change, and what it gives where it is granted.
fn changes() -> Result<Vec<(Alter, i32)>> {
    let release = kernel::release()?;
    // tmpfs keeps what users call attributes from 6.6 on.
    let attribute = if release >= (6, 6) { 0 } else { EOPNOTSUPP };
    let flags = if release >= (6, 17) { 0 } else { ENOSYS };
    let name = "user.test".to_owned();
    Ok(vec![
        (Alter::Length, 0),
        (Alter::Mode, 0),
        (Alter::Owner, 0),
        (Alter::Times, 0),
        (Alter::SetAttribute(name.clone()), attribute),
        (Alter::RemoveAttribute(name), attribute),
        (Alter::SetAcl, 0),
        (Alter::RemoveAcl, 0),
        (Alter::Flags, flags),
    ])
}

/// What the same change gives where it is not granted: the kernel may not get as far as to ask.
fn refused(granted: i32, refusal: i32) -> i32 {
    if granted == ENOSYS { ENOSYS } else { refusal }
}

struct Stage {
    /// Dropped before the daemon, which it belongs to.
    run: Run,
    daemon: Shared,
    work: PathBuf,
    outside: PathBuf,
    _place: Place,
}

fn launch(daemon: &Daemon, uid: u32, work: &Path) -> Result<Run> {
    let terms = Terms { policy: "changed", uid, workspace: Some(work), ..Terms::default() };
    Run::launch(daemon, &terms)
}

impl Stage {
    /// Files `own`, `fixed/f` and, outside, `f` of the test user, and a run of this user.
    fn new(uid: u32) -> Result<Self> {
        let daemon = Daemon::shared()?;
        let place = Place::below(daemon.scene().path())?;
        let (work, outside) = (place.workspace(), place.outside());
        fs::create_dir(work.join("fixed"))?;
        for file in [work.join("own"), work.join("fixed/f"), outside.join("f")] {
            place.file_of_user(&file)?;
        }
        let run = launch(&daemon, uid, &work)?;
        Ok(Self { run, daemon, work, outside, _place: place })
    }

    #[track_caller]
    fn check(&mut self, step: &Step, errno: i32) -> Result<()> {
        assert_eq!(self.run.errno(step)?, errno, "{step:?}");
        Ok(())
    }

    #[track_caller]
    fn check_path(&mut self, what: &Alter, path: &Path, errno: i32) -> Result<()> {
        let file = Target::Path(path.into());
        self.check(&Step::Alter { what: what.clone(), file }, errno)
    }

    #[track_caller]
    fn check_kept(&mut self, what: &Alter, errno: i32) -> Result<()> {
        self.check(&Step::Alter { what: what.clone(), file: Target::Kept }, errno)
    }

    #[track_caller]
    fn keep(&mut self, path: &Path, how: Open) -> Result<()> {
        self.check(&Step::Keep { path: path.into(), how }, 0)
    }
}

/// What a change would leave behind, other than extended attributes.
fn traces(path: &Path) -> Result<(u64, u32, i64, i64)> {
    let found = fs::metadata(path)?;
    Ok((found.len(), found.mode(), found.mtime(), found.ctime_nsec()))
}

/// P2: a file is changed by its path where `write` is granted.
#[test]
fn changes_only_where_writing_is_granted() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let denied = [stage.work.join("fixed/f"), stage.outside.join("f")];
        let before = [traces(&denied[0])?, traces(&denied[1])?];
        for (what, granted) in changes()? {
            stage.check_path(&what, &stage.work.join("own"), granted)?;
            for path in &denied {
                stage.check_path(&what, path, refused(granted, EACCES))?;
            }
        }
        assert_eq!([traces(&denied[0])?, traces(&denied[1])?], before, "a file was changed");
    }
    Ok(())
}

/// P2: a descriptor for reading is no way to change the file.
#[test]
fn changes_through_a_descriptor_only_where_writing_is_granted() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let (own, fixed) = (stage.work.join("own"), stage.work.join("fixed/f"));
        let before = traces(&fixed)?;
        for (what, granted) in changes()? {
            if what == Alter::Length {
                // The kernel itself wants a descriptor for writing.
                stage.keep(&own, Open::Write)?;
                stage.check_kept(&what, granted)?;
                continue;
            }
            stage.keep(&own, Open::Read)?;
            stage.check_kept(&what, granted)?;
            stage.keep(&fixed, Open::Read)?;
            stage.check_kept(&what, refused(granted, EACCES))?;
        }
        assert_eq!(traces(&fixed)?, before, "the file was changed");
    }
    Ok(())
}

/// P4: nor is any descriptor after the end of the run.
#[test]
fn changes_nothing_after_revoke() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let own = stage.work.join("own");
        stage.keep(&own, Open::Write)?;
        for (what, granted) in changes()? {
            stage.check_kept(&what, granted)?;
        }
        stage.daemon.revoke(stage.run.id())?;
        let before = traces(&own)?;
        for (what, granted) in changes()? {
            stage.check_kept(&what, refused(granted, EPERM))?;
            stage.check_path(&what, &own, refused(granted, EPERM))?;
        }
        assert_eq!(traces(&own)?, before, "the file was changed");
    }
    Ok(())
}

/// P10: what the kernel does to a file because it is written is nothing that the run asks for: the descriptor was
/// opened where writing is granted, and the file is elsewhere now.
#[test]
fn lets_a_write_take_privileges_away() -> Result<()> {
    let mut stage = Stage::new(USER)?;
    let (own, elsewhere) = (stage.work.join("own"), stage.outside.join("moved"));
    stage.keep(&own, Open::Write)?;
    fs::rename(own, &elsewhere)?;
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o4777))?;
    stage.check(&Step::WriteKept, 0)?;
    assert_eq!(fs::metadata(&elsewhere)?.mode() & 0o7777, 0o777, "nothing was taken away");
    stage.check_kept(&Alter::Mode, EACCES)
}

/// P2: what users have written beside a file's contents is read where `read` is granted; what the kernel keeps there, which
/// everybody who lists a folder asks for, is read as ever.
#[test]
fn extended_attributes_are_read_as_the_file_is() -> Result<()> {
    // tmpfs keeps what users call attributes from 6.6 on.
    let absent = if kernel::release()? >= (6, 6) { ENODATA } else { EOPNOTSUPP };
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let (own, denied) = (stage.work.join("own"), stage.outside.join("f"));
        for (path, name, errno) in [
            (&own, "user.test", absent),
            (&denied, "user.test", EACCES),
            (&denied, "system.posix_acl_access", ENODATA),
        ] {
            let step = Step::ReadAttribute { path: path.clone(), name: name.to_owned() };
            assert_eq!(stage.run.errno(&step)?, errno, "uid {uid}: {name} of {path:?}");
        }
    }
    Ok(())
}

/// P2: credentials that io_uring lends are not those of a filesystem that acts for itself.
#[test]
fn lent_credentials_change_nothing() -> Result<()> {
    let granted = if kernel::release()? >= (6, 6) { 0 } else { EOPNOTSUPP };
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let (own, fixed) = (stage.work.join("own"), stage.work.join("fixed/f"));
        for (path, errno) in [(own, granted), (fixed, EACCES), (stage.outside.join("f"), EACCES)] {
            // The kernel's worker keeps the credentials of its first day, and may have those that are lent already.
            stage.run = launch(&stage.daemon, uid, &stage.work)?;
            stage.check(&Step::AlterLent(path), errno)?;
        }
    }
    Ok(())
}

/// P10: beside the run everything is as ever.
#[test]
fn leaves_untagged_processes_alone() -> Result<()> {
    let stage = Stage::new(USER)?;
    let file = stage.outside.join("f");
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    fs::File::open(&file)?.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    assert_eq!(fs::metadata(&file)?.mtime(), 0);
    Ok(())
}
