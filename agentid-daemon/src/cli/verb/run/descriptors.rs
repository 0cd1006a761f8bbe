//! What the launcher has left open, and what it shares.

use std::{fs, io, os::fd::RawFd};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::close,
};

/// Closes everything above standard error. To be called before anything of our own is open.
pub fn close_all() -> io::Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number: Option<RawFd> = name.to_str().and_then(|name| name.parse().ok());
        open.extend(number.filter(|number| *number > 2));
    }
    for descriptor in open {
        match close(descriptor) {
            // The listing's own.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Has a working folder and a root that no other process moves. Memory and descriptors are its own since it was executed. Where
/// that is forbidden, the daemon says whether it matters.
pub fn leave_folder() {
    if let Err(errno) = unshare(CloneFlags::CLONE_FS) {
        tracing::debug!(%errno, "the working folder may be shared");
    }
}
