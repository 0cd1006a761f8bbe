//! Operations on a file.

use std::ffi::CString;

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::close;

use super::Act;

pub fn open(path: &str) -> Result<Box<dyn Act>> {
    Ok(Box::new(Open(CString::new(path)?)))
}

pub fn stat(path: &str) -> Result<Box<dyn Act>> {
    Ok(Box::new(Stat(CString::new(path)?)))
}

struct Open(CString);

impl Act for Open {
    fn once(&mut self) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        close(nix::fcntl::open(self.0.as_c_str(), flags, Mode::empty())?)
    }
}

struct Stat(CString);

impl Act for Stat {
    fn once(&mut self) -> Result<(), Errno> {
        nix::sys::stat::stat(self.0.as_c_str()).map(drop)
    }
}
