//! Operations that start a process.

use std::ffi::{CStr, CString};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execv, fork};

use super::Act;
use crate::terrain::TRUE;

/// Runs the smallest program to its end.
pub fn execute() -> Result<Box<dyn Act>> {
    Ok(Box::new(Execute { path: CString::new(TRUE)? }))
}

/// Hands a byte to another process and takes it back: the processor goes from one to the other twice.
pub fn change() -> Result<Box<dyn Act>> {
    let (mut near, mut far) = UnixStream::pair()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(near);
            let mut byte = [0];
            while far.read_exact(&mut byte).and_then(|()| far.write_all(&byte)).is_ok() {}
            // SAFETY: ends the child and runs nothing of the parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { .. } => {
            drop(far);
            near.write_all(b"x")?;
            near.read_exact(&mut [0])?;
            Ok(Box::new(Change { near }))
        }
    }
}

/// The other process ends when it is dropped.
struct Change {
    near: UnixStream,
}

impl Act for Change {
    fn once(&mut self) -> Result<(), Errno> {
        let handed = self.near.write_all(b"x").and_then(|()| self.near.read_exact(&mut [0]));
        handed.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

struct Execute {
    path: CString,
}

impl Act for Execute {
    fn once(&mut self) -> Result<(), Errno> {
        let arguments: [&CStr; 1] = [&self.path];
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let Err(errno) = execv(&self.path, &arguments);
                // SAFETY: ends the child and runs nothing of the parent's.
                unsafe { libc::_exit(errno as i32) }
            }
            ForkResult::Parent { child } => match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => Ok(()),
                WaitStatus::Exited(_, status) => Err(Errno::from_raw(status)),
                _ => Err(Errno::EINTR),
            },
        }
    }
}
