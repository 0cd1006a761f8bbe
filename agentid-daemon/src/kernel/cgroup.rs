//! A pinned link between a program and a cgroup.
//!
//! aya attaches such programs but keeps their links to itself, so that they would end with the daemon; this asks the
//! kernel directly (include/uapi/linux/bpf.h: `BPF_LINK_CREATE`, `BPF_OBJ_PIN`).

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_CGROUP_SYSCTL: u32 = 18;

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct ObjectPin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct ObjectInfo {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_link_info` of a link to a cgroup.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    cgroup: u64,
    attach_type: u32,
    reserved: u32,
}

/// Attaches a `cgroup/sysctl` program to a cgroup, beside others that may be there, and pins the link.
pub fn attach_sysctl(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    pin: &Path,
) -> io::Result<()> {
    let link = bpf(
        BPF_LINK_CREATE,
        &LinkCreate {
            program: descriptor(program)?,
            target: descriptor(cgroup)?,
            attach_type: BPF_CGROUP_SYSCTL,
            flags: 0,
        },
    )?;
    let link = owned(link)?;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = ObjectPin {
        path: path.as_ptr() as u64,
        descriptor: link.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &attributes).map(|_| ())
}

/// Whether a pinned link still holds its program to a cgroup: unlike those of other kinds, such a link can be detached
/// while it lives, and then tells no cgroup (kernel/bpf/cgroup.c: `bpf_cgroup_link_fill_link_info`).
pub fn is_attached(pin: &Path) -> io::Result<bool> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = ObjectPin { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    let link = owned(bpf(BPF_OBJ_GET, &attributes)?)?;
    let mut info = LinkInfo::default();
    let attributes = ObjectInfo {
        descriptor: link.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    Ok(info.cgroup != 0)
}

fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn descriptor(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes, takes what is missing as zeros, writes only where a field
    // points to with its length, and keeps nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
