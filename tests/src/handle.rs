//! Files by handle, for whoever may search everything: no path leads to them.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};
use serde::{Deserialize, Serialize};

/// include/linux/exportfs.h: `MAX_HANDLE_SZ`.
const LONGEST: usize = 128;

/// How a filesystem knows a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    kind: i32,
    data: Vec<u8>,
}

/// include/linux/fs.h: `struct file_handle`.
#[repr(C)]
struct Raw {
    length: u32,
    kind: i32,
    data: [u8; LONGEST],
}

impl Handle {
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut raw = Raw { length: LONGEST as u32, kind: 0, data: [0; LONGEST] };
        let mut mount = 0_i32;
        // SAFETY: the path ends with a zero, and the handle is as long as it says.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                libc::AT_FDCWD,
                path.as_ptr(),
                &raw mut raw,
                &raw mut mount,
                0,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        let data = raw.data.get(..raw.length as usize).unwrap_or(&raw.data);
        Ok(Self { kind: raw.kind, data: data.to_vec() })
    }

    /// Opens the file for reading, on the filesystem that a folder is on, which is opened as well.
    pub fn open(&self, folder: &Path) -> io::Result<File> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(folder, OFlag::O_RDONLY | flags, Mode::empty())?;
        let mut raw = Raw { length: self.data.len() as u32, kind: self.kind, data: [0; LONGEST] };
        for (to, from) in raw.data.iter_mut().zip(&self.data) {
            *to = *from;
        }
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: the handle is as long as it says.
        let opened = unsafe {
            let mount = folder.as_raw_fd();
            libc::syscall(libc::SYS_open_by_handle_at, mount, &raw const raw, flags)
        };
        match i32::try_from(opened) {
            // SAFETY: the call has just made the descriptor, and nobody else has it.
            Ok(opened) if opened >= 0 => Ok(unsafe { File::from_raw_fd(opened) }),
            Ok(_) | Err(_) => Err(io::Error::last_os_error()),
        }
    }
}
