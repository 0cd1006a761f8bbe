//! A watch by which the kernel hands over files that others open.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    access::errno,
    change::{done, text},
};

/// Watches for opens in a folder.
pub fn begin(folder: &Path, watch: &mut Option<File>) -> i32 {
    errno(mark(folder).map(|made| *watch = Some(made)))
}

/// Asks to be told of everything, and ends that.
pub fn follow(path: &Path) -> i32 {
    errno((|| {
        // SAFETY: plain integers.
        let watch = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        done(watch)?;
        // SAFETY: it was opened just now, and nobody else has it.
        let _closes = unsafe { OwnedFd::from_raw_fd(watch) };
        let path = text(path)?;
        // SAFETY: the path ends with a zero.
        done(unsafe { libc::inotify_add_watch(watch, path.as_ptr(), libc::IN_ALL_EVENTS) })
    })())
}

/// Reads what was opened; the file comes as a descriptor with it.
pub fn read(watch: Option<&File>) -> Result<i32> {
    let mut watch = watch.context("nothing is watched")?;
    let mut events = [0; 4096];
    Ok(errno(watch.read(&mut events)))
}

fn mark(folder: &Path) -> io::Result<File> {
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
    // SAFETY: plain integers.
    let watch = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as libc::c_uint) };
    done(watch)?;
    // SAFETY: it was opened just now, and nobody else has it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(watch) });
    let folder = text(folder)?;
    let opens = libc::FAN_OPEN | libc::FAN_EVENT_ON_CHILD;
    // SAFETY: the path ends with a zero.
    done(unsafe {
        libc::fanotify_mark(watch, libc::FAN_MARK_ADD, opens, libc::AT_FDCWD, folder.as_ptr())
    })?;
    Ok(file)
}
