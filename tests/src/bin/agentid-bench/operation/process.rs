//! Operations that start a process.

use std::ffi::{CStr, CString};

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
