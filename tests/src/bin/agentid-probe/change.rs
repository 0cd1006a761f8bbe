//! One change of a folder, and its errno.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{OpenOptionsExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::Path,
};

use agentid_tests::step::Change;
use anyhow::Result;

const MODE: u32 = 0o644;

pub fn change(change: &Change) -> Result<i32> {
    let done = match change {
        Change::Folder(path) => fs::create_dir(path),
        Change::Fifo(path) => node(path, libc::S_IFIFO, 0),
        Change::Device(path) => node(path, libc::S_IFCHR, libc::makedev(1, 3)),
        Change::Socket(path) => UnixListener::bind(path).map(drop),
        Change::Symlink(path) => std::os::unix::fs::symlink("nowhere", path),
        Change::SymlinkTo { target, at } => std::os::unix::fs::symlink(target, at),
        Change::Link { from, to } => fs::hard_link(from, to),
        Change::LinkDescriptor { from, to } => link_descriptor(from, libc::O_PATH, to),
        Change::LinkTemporary { folder, to } => {
            link_descriptor(folder, libc::O_TMPFILE | libc::O_WRONLY, to)
        }
        Change::Rename { from, to } => rename(from, to, 0),
        Change::Exchange { from, to } => rename(from, to, libc::RENAME_EXCHANGE),
        Change::Whiteout { from, to } => rename(from, to, libc::RENAME_WHITEOUT),
        Change::Unlink(path) => fs::remove_file(path),
        Change::Rmdir(path) => fs::remove_dir(path),
        Change::Queue(name) => queue(name),
        Change::RemoveQueue(name) => remove_queue(name),
        Change::Memory => memory(),
    };
    Ok(done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO)))
}

pub fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

pub fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn node(path: &Path, kind: libc::mode_t, number: libc::dev_t) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path ends with a zero.
    done(unsafe { libc::mknod(path.as_ptr(), kind | MODE, number) })
}

/// The kernel's own calls take the name without the slash.
fn queue(name: &Path) -> io::Result<()> {
    let name = text(name.strip_prefix("/").unwrap_or(name))?;
    let how = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    let none = std::ptr::null::<libc::mq_attr>();
    // SAFETY: the name ends with a zero, and the attributes may be null.
    let queue = unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), how, 0o666, none) };
    if queue < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(queue as RawFd) });
    Ok(())
}

fn remove_queue(name: &Path) -> io::Result<()> {
    let name = text(name.strip_prefix("/").unwrap_or(name))?;
    // SAFETY: the name ends with a zero.
    let result = unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn rename(from: &Path, to: &Path, flags: libc::c_uint) -> io::Result<()> {
    let (from, to) = (text(from)?, text(to)?);
    let here = libc::AT_FDCWD;
    // SAFETY: both paths end with a zero.
    let result = unsafe {
        libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), flags)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn memory() -> io::Result<()> {
    memory_of(0, 1)?;
    memory_of(libc::MFD_HUGETLB | libc::MFD_HUGE_2MB, 2 << 20)
}

fn memory_of(flags: libc::c_uint, length: u64) -> io::Result<()> {
    // SAFETY: the name ends with a zero.
    let descriptor = unsafe { libc::memfd_create(c"memory".as_ptr(), libc::MFD_CLOEXEC | flags) };
    done(descriptor)?;
    // SAFETY: it was opened just now, and nobody else has it.
    let file = fs::File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.set_len(length)?;
    file.set_permissions(fs::Permissions::from_mode(MODE))
}

/// Needs a privilege of root's; whoever lacks it gets `ENOENT` from the kernel.
fn link_descriptor(from: &Path, flags: libc::c_int, to: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let write = flags & libc::O_WRONLY != 0;
    let file = options.read(!write).write(write).custom_flags(flags).open(from)?;
    let to = text(to)?;
    // SAFETY: both paths end with a zero.
    done(unsafe {
        libc::linkat(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    })
}
