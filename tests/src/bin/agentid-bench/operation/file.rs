//! Operations on a file.

use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::close;

use super::{Act, FIRSTS};
use crate::terrain::file_in;

pub fn open(path: &str) -> Result<Box<dyn Act>> {
    Ok(Box::new(Open(CString::new(path)?)))
}

/// Opens a file in a folder in which nothing was opened before, each time in another one.
pub fn open_first(turn: u32) -> Result<Box<dyn Act>> {
    let files = (turn * FIRSTS..(turn + 1) * FIRSTS).map(|number| CString::new(file_in(number)));
    let files: Vec<CString> = files.collect::<Result<_, _>>()?;
    for file in &files {
        // What the kernel keeps of a name is made at its first use, by whatever call.
        nix::sys::stat::stat(file.as_c_str())?;
    }
    Ok(Box::new(OpenFirst { files, next: 0 }))
}

pub fn stat(path: &str) -> Result<Box<dyn Act>> {
    Ok(Box::new(Stat(CString::new(path)?)))
}

/// Reads one byte of an open file.
pub fn read(path: &str) -> Result<Box<dyn Act>> {
    Ok(Box::new(Read(File::open(path)?)))
}

/// Writes one byte into a pipe, which is emptied after the batch.
pub fn write() -> Result<Box<dyn Act>> {
    let (reader, writer) = std::io::pipe()?;
    Ok(Box::new(Write { reader, writer, written: 0 }))
}

struct Read(File);

impl Act for Read {
    fn once(&mut self) -> Result<(), Errno> {
        self.0.read_at(&mut [0], 0).map(drop).map_err(errno)
    }
}

struct Write {
    reader: PipeReader,
    writer: PipeWriter,
    written: usize,
}

impl Act for Write {
    fn once(&mut self) -> Result<(), Errno> {
        self.written += self.writer.write(b"x").map_err(errno)?;
        Ok(())
    }

    fn clear(&mut self) -> Result<bool> {
        self.reader.read_exact(&mut vec![0; self.written])?;
        self.written = 0;
        Ok(true)
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

struct Open(CString);

impl Act for Open {
    fn once(&mut self) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        close(nix::fcntl::open(self.0.as_c_str(), flags, Mode::empty())?)
    }
}

struct OpenFirst {
    files: Vec<CString>,
    next: usize,
}

impl Act for OpenFirst {
    fn once(&mut self) -> Result<(), Errno> {
        let file = self.files.get(self.next).ok_or(Errno::ENOENT)?;
        self.next += 1;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        close(nix::fcntl::open(file.as_c_str(), flags, Mode::empty())?)
    }
}

struct Stat(CString);

impl Act for Stat {
    fn once(&mut self) -> Result<(), Errno> {
        nix::sys::stat::stat(self.0.as_c_str()).map(drop)
    }
}
