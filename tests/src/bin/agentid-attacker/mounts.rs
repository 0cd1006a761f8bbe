//! Attempts upon mounts.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};

const NOTHING: Option<&str> = None;

pub fn unmount(path: &Path, lazily: bool) -> io::Result<()> {
    Ok(umount2(path, if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() })?)
}

pub fn mount_over(path: &Path) -> io::Result<()> {
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), NOTHING)?)
}

pub fn move_old(from: &Path, onto: &Path) -> io::Result<()> {
    Ok(mount(Some(from), onto, NOTHING, MsFlags::MS_MOVE, NOTHING)?)
}

pub fn move_tree(from: &Path, onto: &Path) -> io::Result<()> {
    let (from, onto) = (text(from)?, text(onto)?);
    // SAFETY: a system call with a string that ends with zero.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), 0) };
    let tree = descriptor(tree)?;
    // SAFETY: a system call with a descriptor of ours and strings that end with zero.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            onto.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
}

/// include/uapi/linux/mount.h
const FSCONFIG_CMD_RECONFIGURE: libc::c_int = 7;

pub fn reconfigure(path: &Path) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: a system call with a string that ends with zero.
    let context = unsafe { libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, path.as_ptr(), 0) };
    let context = descriptor(context)?;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: this command has neither a key nor a value.
    done(unsafe {
        let (context, command) = (context.as_raw_fd(), FSCONFIG_CMD_RECONFIGURE);
        libc::syscall(libc::SYS_fsconfig, context, command, nothing, nothing, 0)
    })
}

/// Nothing changes where it is not refused: the kernel does not take the root for what is to hold it (`EINVAL`, or `EBUSY`).
pub fn pivot_root() -> io::Result<()> {
    // SAFETY: a system call with strings that end with zero.
    done(unsafe { libc::syscall(libc::SYS_pivot_root, c"/".as_ptr(), c"/".as_ptr()) })
}

/// In a child, so that the attacker itself stays where it is.
pub fn write_in_own_proc(path: &Path, words: &str) -> io::Result<()> {
    // SAFETY: the attacker has one thread whenever it performs this attempt.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let written =
                own_proc().and_then(|()| super::write(&Path::new("/proc").join(path), words));
            // SAFETY: ends this child at once, without what the parent has left to do at its own end.
            unsafe { libc::_exit(written.err().map_or(0, |error| super::errno(&error))) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("{other:?}"))),
        },
    }
}

fn own_proc() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)?;
    Ok(mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NOTHING)?)
}

pub fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

pub fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    done(result)?;
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the system call has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
