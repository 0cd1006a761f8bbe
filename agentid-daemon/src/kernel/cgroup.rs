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

/// The part of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjectPin {
    path: u64,
    descriptor: u32,
    flags: u32,
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
    let link = i32::try_from(link).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = ObjectPin {
        path: path.as_ptr() as u64,
        descriptor: link.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &attributes).map(|_| ())
}

fn descriptor(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes, takes what is missing as zeros, and keeps nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
