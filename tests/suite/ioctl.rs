//! A descriptor does what reading and writing it do, and what is known to be harmless on files of its kind.

use agentid_tests::{
    harness::{
        Daemon, Place, Run, Shared,
        run::Terms,
        scene::{USER, USERS},
        view::What,
        wait,
    },
    step::{Outcome, Step, Thing},
};
use anyhow::{Result, bail};
use libc::{EACCES, EBADF, ENOTTY, EPERM};

/// Numbers from include/uapi, as far as the C library does not have them.
mod command {
    pub const FIOCLEX: u32 = 0x5451;
    pub const FIONREAD: u32 = 0x541b;
    pub const FIGETBSZ: u32 = 2;
    pub const TCGETS: u32 = 0x5401;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCGPGRP: u32 = 0x540f;
    pub const TIOCGETD: u32 = 0x5424;
    pub const TIOCSPTLCK: u32 = 0x4004_5431;
    pub const TIOCSTI: u32 = 0x5412;
    pub const TIOCSETD: u32 = 0x5423;
    pub const TIOCCONS: u32 = 0x541d;
    pub const TIOCLINUX: u32 = 0x541c;
    pub const FICLONE: u32 = 0x4004_9409;
    pub const SETFLAGS: u32 = 0x4008_6602;
    pub const SETFLAGS_NARROW: u32 = 0x4004_6602;
    pub const SNAPSHOT: u32 = 0x5000_9401;
    pub const SIOCGIFCONF: u32 = 0x8912;
    pub const SIOCSIFFLAGS: u32 = 0x8914;
    pub const UFFDIO_API: u32 = 0xc018_aa3f;
    pub const PERF_SET_BPF: u32 = 0x4004_2408;
}
use command as c;

struct Stage {
    /// Dropped before the daemon, which it belongs to.
    run: Run,
    daemon: Shared,
    _place: Place,
    file: Thing,
    writable: Thing,
    fixed: Thing,
    folder: Thing,
    null: Thing,
}

impl Stage {
    fn new(uid: u32) -> Result<Self> {
        let daemon = Daemon::shared()?;
        let place = Place::below(daemon.scene().path())?;
        let work = place.workspace();
        place.file(&work.join("fixed"))?;
        let terms = Terms { policy: "ioctls", uid, workspace: Some(&work), ..Terms::default() };
        Ok(Self {
            run: Run::launch(&daemon, &terms)?,
            daemon,
            _place: place,
            file: Thing::Path(work.join("a")),
            writable: Thing::Writable(work.join("a")),
            fixed: Thing::Path(work.join("fixed")),
            folder: Thing::Path(work),
            null: Thing::Path("/dev/null".into()),
        })
    }

    fn errno(&mut self, on: &Thing, command: u32) -> Result<i32> {
        self.run.errno(&Step::Ioctl { on: on.clone(), command })
    }

    /// Each kind of thing.
    fn things(&self) -> [Thing; 8] {
        [
            self.file.clone(),
            self.folder.clone(),
            self.null.clone(),
            Thing::Terminal,
            Thing::Socket,
            Thing::Pipe,
            Thing::Memory,
            Thing::Counter,
        ]
    }
}

/// P2: what every program does with whatever it is given goes on as ever, with the kernel's own answers.
#[test]
fn harmless_commands_pass() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        for thing in stage.things() {
            assert_eq!(stage.errno(&thing, c::FIOCLEX)?, 0, "uid {uid}: {thing:?}");
            let is_terminal = if thing == Thing::Terminal { 0 } else { ENOTTY };
            for command in [c::TCGETS, c::TIOCGWINSZ, c::TIOCGPGRP, c::TIOCGETD] {
                let found = stage.errno(&thing, command)?;
                // Some kinds have another word for it.
                let same = found == is_terminal || is_terminal != 0 && found == libc::EINVAL;
                assert!(same, "uid {uid}: {command:#x} on {thing:?} gave {found}");
            }
        }
        for (thing, command, expected) in [
            (stage.file.clone(), c::FIGETBSZ, 0),
            (stage.file.clone(), c::FIONREAD, 0),
            (Thing::Pipe, c::FIONREAD, 0),
            (Thing::Terminal, c::FIONREAD, 0),
            (Thing::Terminal, c::TIOCSPTLCK, 0),
            (Thing::Socket, c::SIOCGIFCONF, 0),
            // The kernel is asked, and finds that the argument is no descriptor to clone from.
            (stage.writable.clone(), c::FICLONE, EBADF),
        ] {
            let found = stage.errno(&thing, command)?;
            assert_eq!(found, expected, "uid {uid}: {command:#x} on {thing:?}");
        }
    }
    Ok(())
}

/// P2: what reaches beyond the file is denied on every kind of file, and is denied before the kernel looks at it.
#[test]
fn no_command_reaches_beyond_the_file() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        for thing in stage.things() {
            for command in [
                c::SNAPSHOT,
                c::TIOCSTI,
                c::TIOCSETD,
                c::TIOCCONS,
                c::TIOCLINUX,
                c::SIOCSIFFLAGS,
                c::UFFDIO_API,
                c::PERF_SET_BPF,
            ] {
                let found = stage.errno(&thing, command)?;
                assert_eq!(found, EACCES, "uid {uid}: {command:#x} on {thing:?}");
            }
        }
        // Harmless elsewhere.
        for (thing, command) in [
            (stage.null.clone(), c::FIONREAD),
            (stage.file.clone(), c::SIOCGIFCONF),
            (stage.null.clone(), c::SETFLAGS),
        ] {
            assert_eq!(stage.errno(&thing, command)?, EACCES, "uid {uid}: {command:#x}");
        }
    }
    Ok(())
}

/// P2: the flags of a file are changed only where it may be written, however it is open.
#[test]
fn flags_need_the_right_to_write() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        for command in [c::SETFLAGS, c::SETFLAGS_NARROW] {
            assert_eq!(stage.errno(&stage.fixed.clone(), command)?, EACCES, "uid {uid}");
            // Whether the filesystem has flags, and whether they are this user's to change, is the kernel's to say.
            let found = stage.errno(&stage.file.clone(), command)?;
            assert!([0, ENOTTY, EPERM, libc::EOPNOTSUPP].contains(&found), "uid {uid}: {found}");
        }
    }
    Ok(())
}

/// P2: the 32-bit interface is held to the same list.
#[test]
fn the_narrow_interface_is_held_too() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        for (on, command, expected) in [
            (stage.file.clone(), c::FIOCLEX, 0),
            (stage.file.clone(), c::SNAPSHOT, EACCES),
            (stage.fixed.clone(), c::SETFLAGS_NARROW, EACCES),
            (Thing::Terminal, c::TIOCSTI, EACCES),
        ] {
            let step = Step::NarrowIoctl { on, command };
            match stage.run.ask(&step)? {
                Outcome::NotTried { at, .. } => {
                    eprintln!("skipped: this kernel kills who uses {at}");
                    return Ok(());
                }
                found => assert_eq!(found, Outcome::Errno(expected), "uid {uid}: {step:?}"),
            }
        }
    }
    Ok(())
}

/// P4: after its end a run uses no ioctl at all.
#[test]
fn nothing_is_harmless_after_the_end() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        stage.daemon.revoke(stage.run.id())?;
        // A socket could not even be made.
        for thing in [Thing::Pipe, Thing::Memory, Thing::Counter] {
            assert_eq!(stage.errno(&thing, c::FIOCLEX)?, EPERM, "uid {uid}: {thing:?}");
        }
    }
    Ok(())
}

/// P7: the record says by which hook, and why.
#[test]
fn records_what_was_denied() -> Result<()> {
    let mut stage = Stage::new(USER)?;
    assert_eq!(stage.errno(&stage.file.clone(), c::SNAPSHOT)?, EACCES);
    let narrow = Step::NarrowIoctl { on: stage.file.clone(), command: c::SNAPSHOT };
    let mut hooks = vec!["file_ioctl"];
    match stage.run.ask(&narrow)? {
        Outcome::Errno(EACCES) => hooks.push("file_ioctl_compat"),
        Outcome::NotTried { .. } => {}
        other => bail!("{narrow:?} gave {other:?}"),
    }
    for hook in hooks {
        wait::until("the record is there", wait::SOON, || {
            let found =
                stage.daemon.events(stage.run.id())?.into_iter().any(|event| match event.what {
                    What::Access(access) => {
                        access.hook == hook && access.reason.as_deref() == Some("ioctl")
                    }
                    What::Stopped(_) | What::Ended(_) | What::Other => false,
                });
            Ok(found.then_some(()))
        })?;
    }
    Ok(())
}
