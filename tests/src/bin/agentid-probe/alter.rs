//! One change of a file that is not opened for it, by path or through a descriptor, and its errno.

use std::{
    ffi::{CStr, CString},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{PermissionsExt as _, chown, fchown},
    },
    path::Path,
    ptr::null_mut,
    time::{Duration, SystemTime},
};

use agentid_tests::step::{Alter, Open, Target};
use anyhow::{Context as _, Result};

use crate::{
    access::errno,
    change::{done, text},
};

const MODE: u32 = 0o666;
/// Some hour of 1970.
const TIME: Duration = Duration::from_secs(4000);
const VALUE: &[u8] = b"value";
const ACL: &CStr = c"system.posix_acl_access";
/// include/uapi/linux/posix_acl_xattr.h: the version, and for the owner, the group and others a tag, what they may do,
/// and no number.
const ACL_VALUE: [u8; 28] = [
    2, 0, 0, 0, // version
    1, 0, 6, 0, 255, 255, 255, 255, // owner
    4, 0, 6, 0, 255, 255, 255, 255, // group
    32, 0, 6, 0, 255, 255, 255, 255, // others
];
/// arch/x86/entry/syscalls/syscall_64.tbl
const SYS_FILE_SETATTR: libc::c_long = 469;
/// include/uapi/linux/fs.h: `FS_XFLAG_NODUMP` and no more in a `struct file_attr`.
const FILE_ATTR: [u64; 3] = [0x80, 0, 0];

/// Opens a file to be kept.
pub fn keep(path: &Path, how: Open, kept: &mut Option<File>) -> i32 {
    let write = how != Open::Read;
    let opened = OpenOptions::new().read(true).write(write).open(path);
    errno(opened.map(|file| *kept = Some(file)))
}

/// Writes to the kept file.
pub fn write(kept: Option<&File>) -> Result<i32> {
    let mut file = kept.context("no file is kept")?;
    Ok(errno(file.write_all(b"more")))
}

/// How long it is does not matter: nothing is taken of it.
pub fn read_attribute(path: &Path, name: &str) -> Result<i32> {
    let (path, name) = (text(path)?, CString::new(name)?);
    // SAFETY: the path and the name end with zeros, and nothing is written where there is no room.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), null_mut(), 0) };
    Ok(if length < 0 { errno::<()>(Err(io::Error::last_os_error())) } else { 0 })
}

pub fn list(path: &Path) -> i32 {
    let read = |mut entries: fs::ReadDir| entries.try_for_each(|entry| entry.map(drop));
    errno(fs::read_dir(path).and_then(read))
}

pub fn alter(what: &Alter, target: &Target, kept: Option<&File>) -> Result<i32> {
    Ok(errno(match target {
        Target::Path(path) => by_path(what, path),
        Target::Kept => by_descriptor(what, kept.context("no file is kept")?),
    }))
}

fn by_path(what: &Alter, path: &Path) -> io::Result<()> {
    let name = text(path)?;
    let name = name.as_ptr();
    match what {
        // SAFETY: the path ends with a zero.
        Alter::Length => done(unsafe { libc::truncate(name, 1) }),
        Alter::Mode => fs::set_permissions(path, fs::Permissions::from_mode(MODE)),
        Alter::Owner => chown(path, None, None),
        Alter::Times => {
            // SAFETY: the path ends with a zero, and there are two times.
            done(unsafe { libc::utimensat(libc::AT_FDCWD, name, times().as_ptr(), 0) })
        }
        Alter::SetAttribute(attribute) => {
            let attribute = CString::new(attribute.as_str())?;
            set(attribute.as_c_str(), VALUE, |attribute, value, size| {
                // SAFETY: the names end with zeros, and the value has this size.
                unsafe { libc::setxattr(name, attribute, value, size, 0) }
            })
        }
        Alter::SetAcl => set(ACL, &ACL_VALUE, |attribute, value, size| {
            // SAFETY: as above.
            unsafe { libc::setxattr(name, attribute, value, size, 0) }
        }),
        Alter::RemoveAttribute(attribute) => {
            let attribute = CString::new(attribute.as_str())?;
            // SAFETY: the names end with zeros.
            done(unsafe { libc::removexattr(name, attribute.as_ptr()) })
        }
        // SAFETY: the names end with zeros.
        Alter::RemoveAcl => done(unsafe { libc::removexattr(name, ACL.as_ptr()) }),
        Alter::Flags => set_flags(libc::AT_FDCWD, name, 0),
    }
}

fn by_descriptor(what: &Alter, file: &File) -> io::Result<()> {
    let number = file.as_raw_fd();
    match what {
        Alter::Length => file.set_len(1),
        Alter::Mode => file.set_permissions(fs::Permissions::from_mode(MODE)),
        Alter::Owner => fchown(file, None, None),
        Alter::Times => file.set_modified(SystemTime::UNIX_EPOCH + TIME),
        Alter::SetAttribute(attribute) => {
            let attribute = CString::new(attribute.as_str())?;
            set(attribute.as_c_str(), VALUE, |attribute, value, size| {
                // SAFETY: the name ends with a zero, and the value has this size.
                unsafe { libc::fsetxattr(number, attribute, value, size, 0) }
            })
        }
        Alter::SetAcl => set(ACL, &ACL_VALUE, |attribute, value, size| {
            // SAFETY: as above.
            unsafe { libc::fsetxattr(number, attribute, value, size, 0) }
        }),
        Alter::RemoveAttribute(attribute) => {
            let attribute = CString::new(attribute.as_str())?;
            // SAFETY: the name ends with a zero.
            done(unsafe { libc::fremovexattr(number, attribute.as_ptr()) })
        }
        // SAFETY: the name ends with a zero.
        Alter::RemoveAcl => done(unsafe { libc::fremovexattr(number, ACL.as_ptr()) }),
        Alter::Flags => set_flags(number, c"".as_ptr(), libc::AT_EMPTY_PATH),
    }
}

fn set(
    attribute: &CStr,
    value: &[u8],
    call: impl FnOnce(*const libc::c_char, *const libc::c_void, usize) -> libc::c_int,
) -> io::Result<()> {
    done(call(attribute.as_ptr(), value.as_ptr().cast(), value.len()))
}

/// The time of access and that of change.
fn times() -> [libc::timespec; 2] {
    let time = libc::timespec { tv_sec: TIME.as_secs().cast_signed(), tv_nsec: 0 };
    [time, time]
}

fn set_flags(folder: libc::c_int, path: *const libc::c_char, flags: libc::c_int) -> io::Result<()> {
    let (attributes, size) = (FILE_ATTR.as_ptr(), size_of_val(&FILE_ATTR));
    // SAFETY: the path ends with a zero, and the attributes have this size.
    let result = unsafe { libc::syscall(SYS_FILE_SETATTR, folder, path, attributes, size, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
