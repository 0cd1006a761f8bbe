//! Signals that a file has sent to its owner.

use std::{
    io::{self, Write as _},
    mem::zeroed,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixStream,
    },
    ptr::null_mut,
};

use agentid_tests::attack::{Means, Owner};

use super::mounts::{descriptor, done};

/// include/uapi/asm-generic/fcntl.h
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_PID: libc::c_int = 1;
const DN_CREATE: libc::c_int = 4;
/// include/uapi/asm-generic/ioctls.h
const FIOASYNC: libc::c_ulong = 0x5452;
/// For a signal that the kernel has sent before the write returns.
const PATIENCE: libc::timespec = libc::timespec { tv_sec: 60, tv_nsec: 0 };

/// `struct f_owner_ex`
#[repr(C)]
struct Named {
    kind: libc::c_int,
    process: libc::pid_t,
}

pub fn signal(tgid: u32, way: Owner) -> io::Result<()> {
    if way == Owner::Terminal {
        return signal_by_terminal();
    }
    let (near, far) = UnixStream::pair()?;
    let (file, target) = (near.as_raw_fd(), tgid.cast_signed());
    match way {
        Owner::Process => command(file, libc::F_SETOWN, target)?,
        Owner::Group => command(file, libc::F_SETOWN, -target)?,
        Owner::Named | Owner::Terminal => {
            let named = Named { kind: F_OWNER_PID, process: target };
            // SAFETY: the command reads what the argument points to.
            done(unsafe { libc::fcntl(file, F_SETOWN_EX, &raw const named) }.into())?;
        }
    }
    command(file, F_SETSIG, libc::SIGKILL)?;
    begin(file)?;
    (&far).write_all(b"x")
}

fn signal_by_terminal() -> io::Result<()> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a plain system call.
    let screen = descriptor(unsafe { libc::posix_openpt(flags) }.into())?;
    begin(screen.as_raw_fd())
}

pub fn signal_oneself() -> io::Result<()> {
    let (near, far) = UnixStream::pair()?;
    let file = near.as_raw_fd();
    let patience = PATIENCE;
    // SAFETY: the set is there for the calls to write and to read.
    unsafe {
        let mut set = zeroed();
        done(libc::sigemptyset(&raw mut set).into())?;
        done(libc::sigaddset(&raw mut set, libc::SIGUSR1).into())?;
        done(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, null_mut()).into())?;
        command(file, libc::F_SETOWN, libc::getpid())?;
        command(file, F_SETSIG, libc::SIGUSR1)?;
        begin(file)?;
        (&far).write_all(b"x")?;
        done(libc::sigtimedwait(&raw const set, null_mut(), &raw const patience).into())?;
        command(file, libc::F_SETOWN, 0)
    }
}

pub fn signal_owner(means: Means) -> io::Result<()> {
    let file = libc::STDIN_FILENO;
    match means {
        Means::Signal => command(file, F_SETSIG, libc::SIGKILL),
        Means::Flag => begin(file),
        Means::Ioctl => {
            let on: libc::c_int = 1;
            // SAFETY: the command reads a number.
            done(unsafe { libc::ioctl(file, FIOASYNC, &raw const on) }.into())
        }
        Means::Lease => command(file, libc::F_SETLEASE, libc::F_RDLCK),
        Means::Watch => command(file, libc::F_NOTIFY, DN_CREATE),
    }
}

fn begin(file: RawFd) -> io::Result<()> {
    // SAFETY: takes plain integers.
    let flags = unsafe { libc::fcntl(file, libc::F_GETFL) };
    done(flags.into())?;
    command(file, libc::F_SETFL, flags | libc::O_ASYNC)
}

fn command(file: RawFd, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: takes plain integers.
    done(unsafe { libc::fcntl(file, command, argument) }.into())
}
