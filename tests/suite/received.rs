//! A descriptor from another process opens no more than the run could open itself.

use std::{
    fs::{File, OpenOptions},
    io::IoSlice,
    mem::zeroed,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{fs::OpenOptionsExt as _, net::UnixStream},
    },
    path::Path,
    process::Stdio,
};

use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::USERS,
        view::{Object, What},
        wait,
    },
    step::{Outcome, Step},
};
use anyhow::{Context as _, Result, ensure};
use libc::{EACCES, EPERM};
use nix::{
    errno::Errno,
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, sendmsg},
    },
};

/// What the receiver sees when a descriptor is refused: the message, and that something is missing.
const REFUSED: Outcome = Outcome::Received { descriptors: 0, truncated: true };
const TAKEN: Outcome = Outcome::Received { descriptors: 1, truncated: false };

/// A run that is connected with this process, which is in no run.
struct Pair {
    run: Run,
    socket: UnixStream,
}

impl Pair {
    fn new(daemon: &Daemon, policy: &str, uid: u32) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let terms = Terms { policy, uid, ..Terms::default() };
        let run = Run::launch_with(daemon, &terms, Stdio::from(OwnedFd::from(theirs)))?;
        Ok(Self { run, socket })
    }

    /// Hands these over in one message: what the run makes of it.
    fn hand_over(&mut self, files: &[&OwnedFd]) -> Result<Outcome> {
        let numbers: Vec<_> = files.iter().map(|file| file.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let part = [IoSlice::new(b"x")];
        let socket = self.socket.as_fd().as_raw_fd();
        sendmsg::<()>(socket, &part, &rights, MsgFlags::empty(), None)
            .context("failed to send descriptors")?;
        self.run.ask(&Step::Receive)
    }
}

fn read(path: &Path) -> Result<OwnedFd> {
    Ok(File::open(path)?.into())
}

fn write(path: &Path) -> Result<OwnedFd> {
    Ok(OpenOptions::new().write(true).open(path)?.into())
}

/// Only the path, through which nothing is read or written.
fn path_alone(path: &Path) -> Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?.into())
}

/// P2: a file is taken from another process only in a way in which the run could open it.
#[test]
fn takes_only_what_it_could_open() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let (granted, denied) = (scene.granted(), scene.denied());
    let secret = scene.workspace().join("secret");
    for uid in USERS {
        let mut wide = Pair::new(&daemon, "fixture", uid)?;
        for (file, expected) in [
            (read(&granted)?, TAKEN),
            (write(&granted)?, TAKEN),
            (read(&scene.workspace())?, TAKEN),
            (read(&denied)?, REFUSED),
            (write(&denied)?, REFUSED),
            (read(&secret)?, REFUSED),
            (read(&scene.outside())?, REFUSED),
            (path_alone(&denied)?, TAKEN),
        ] {
            assert_eq!(wide.hand_over(&[&file])?, expected, "uid {uid}: {file:?}");
        }
        let mut narrow = Pair::new(&daemon, "narrow", uid)?;
        assert_eq!(narrow.hand_over(&[&read(&granted)?])?, TAKEN, "uid {uid}");
        assert_eq!(narrow.hand_over(&[&write(&granted)?])?, REFUSED, "uid {uid}");
    }
    Ok(())
}

/// P2: of several descriptors those before the first refused one come through.
#[test]
fn takes_what_comes_before_the_first_refusal() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (granted, denied) = (read(&daemon.scene().granted())?, read(&daemon.scene().denied())?);
    for uid in USERS {
        let mut pair = Pair::new(&daemon, "fixture", uid)?;
        let first = Outcome::Received { descriptors: 1, truncated: true };
        assert_eq!(pair.hand_over(&[&granted, &denied, &granted])?, first, "uid {uid}");
        assert_eq!(pair.hand_over(&[&denied, &granted])?, REFUSED, "uid {uid}");
        let both = Outcome::Received { descriptors: 2, truncated: false };
        assert_eq!(pair.hand_over(&[&granted, &granted])?, both, "uid {uid}");
    }
    Ok(())
}

/// P2, P4: what lies nowhere is taken by a run that goes on, and nothing by one that is over.
#[test]
fn takes_nothing_after_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (pipe, _writer) = nix::unistd::pipe()?;
    let memory = memfd_create(c"memory", MFdFlags::empty())?;
    let socket: OwnedFd = UnixStream::pair()?.0.into();
    let path = path_alone(&daemon.scene().granted())?;
    let granted = read(&daemon.scene().granted())?;
    for uid in USERS {
        let mut pair = Pair::new(&daemon, "fixture", uid)?;
        for file in [&pipe, &memory, &socket, &path, &granted] {
            assert_eq!(pair.hand_over(&[file])?, TAKEN, "uid {uid}: {file:?}");
        }
        daemon.revoke(pair.run.id())?;
        for file in [&pipe, &memory, &socket, &path, &granted] {
            // Not even the message.
            assert_eq!(pair.hand_over(&[file])?, Outcome::Errno(EPERM), "uid {uid}: {file:?}");
        }
    }
    Ok(())
}

/// P2: of what lies nowhere a run takes what lets nobody reach anything. What acts for whoever has it, in others' names or in
/// others' memory, it does not.
#[test]
fn takes_no_descriptor_that_acts_for_others() -> Result<()> {
    let daemon = Daemon::shared()?;
    let harmless = harmless()?;
    let acting = acting()?;
    for uid in USERS {
        let mut pair = Pair::new(&daemon, "fixture", uid)?;
        for (what, file) in &harmless {
            assert_eq!(pair.hand_over(&[file])?, TAKEN, "uid {uid}: {what}");
        }
        for (what, file) in &acting {
            assert_eq!(pair.hand_over(&[file])?, REFUSED, "uid {uid}: {what}");
        }
        // Since 6.7, and in later releases of 6.1, the kernel itself passes no ring.
        match pair.hand_over(&[&ring()?]) {
            Ok(outcome) => assert_eq!(outcome, REFUSED, "uid {uid}: a ring"),
            Err(error) => assert_eq!(error.downcast_ref(), Some(&Errno::EINVAL), "{error:#}"),
        }
    }
    Ok(())
}

/// What a call has made that returns a descriptor, or -1.
fn made(what: &'static str, number: i64) -> Result<(&'static str, OwnedFd)> {
    ensure!(number >= 0, "failed to make {what}: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made it for nobody else.
    Ok((what, unsafe { OwnedFd::from_raw_fd(number as RawFd) }))
}

fn harmless() -> Result<Vec<(&'static str, OwnedFd)>> {
    // SAFETY: plain system calls; the mask is there to be read.
    unsafe {
        let mask: libc::sigset_t = zeroed();
        Ok(vec![
            made("a counter", libc::eventfd(0, 0).into())?,
            made("a list to wait for", libc::epoll_create1(0).into())?,
            made("signals", libc::signalfd(-1, &raw const mask, 0).into())?,
            made("a clock", libc::timerfd_create(libc::CLOCK_MONOTONIC, 0).into())?,
            made("a watch", libc::inotify_init1(0).into())?,
            made("a process", libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0))?,
        ])
    }
}

fn acting() -> Result<Vec<(&'static str, OwnedFd)>> {
    /// include/uapi/linux/perf_event.h: `struct perf_event_attr` as long as at first, of a counter that counts nothing.
    const SIZE: u32 = 64;
    const SOFTWARE: u32 = 1;
    const DUMMY: u64 = 9;
    let attributes: [u64; SIZE as usize / 8] =
        [u64::from(SOFTWARE) | u64::from(SIZE) << 32, DUMMY, 0, 0, 0, 0, 0, 0];
    // SAFETY: plain system calls; the attributes and the name are there to be read.
    unsafe {
        let event = attributes.as_ptr();
        Ok(vec![
            made("a mount in the making", libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0))?,
            made("a watch over faults", libc::syscall(libc::SYS_userfaultfd, 0))?,
            made(
                "a view of a process",
                libc::syscall(libc::SYS_perf_event_open, event, 0, -1, -1, 0),
            )?,
        ])
    }
}

fn ring() -> Result<OwnedFd> {
    // As long as `struct io_uring_params`.
    let mut params = [0_u64; 15];
    // SAFETY: the parameters are there to be read and written.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    Ok(made("a ring", ring)?.1)
}

/// P2: pidfd_getfd(2) asks the same.
#[test]
fn fetches_only_what_it_could_open() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    for uid in USERS {
        for (path, expected) in [(scene.granted(), 0), (scene.denied(), EACCES)] {
            let terms = Terms { uid, ..Terms::default() };
            let mut run = Run::launch_with(&daemon, &terms, Stdio::from(write(&path)?))?;
            assert_eq!(run.errno(&Step::Fetch)?, expected, "uid {uid}: {}", path.display());
        }
    }
    Ok(())
}

/// P7: the record says which file, and with which rights it came.
#[test]
fn records_the_file_and_its_rights() -> Result<()> {
    let daemon = Daemon::shared()?;
    let denied = daemon.scene().denied();
    let mut pair = Pair::new(&daemon, "fixture", 0)?;
    let both = OpenOptions::new().read(true).write(true).open(&denied)?;
    assert_eq!(pair.hand_over(&[&both.into()])?, REFUSED);
    let shown = Object::File {
        path: Some(denied.display().to_string()),
        want: vec!["read".to_owned(), "write".to_owned()],
    };
    wait::until("the record is there", wait::SOON, || {
        let found = daemon.events(pair.run.id())?.into_iter().any(|event| match event.what {
            What::Access(access) => {
                access.hook == "file_receive" && access.object.as_ref() == Some(&shown)
            }
            What::Stopped(_) | What::Ended(_) | What::Other => false,
        });
        Ok(found.then_some(()))
    })
}
