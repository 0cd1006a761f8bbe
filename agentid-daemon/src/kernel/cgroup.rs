//! A pinned link between a program and a cgroup.
//!
//! aya attaches such programs but keeps their links to itself, so that they would end with the daemon; this asks the
//! kernel directly.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use super::sys::{BPF_LINK_CREATE, BPF_OBJ_GET_INFO_BY_FD, bpf, number, open_pin, owned, pin};

/// What a program on a cgroup sees (include/uapi/linux/bpf.h: `enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Packets that come in.
    Ingress = 0,
    /// Packets that go out.
    Egress = 1,
    /// The address that a socket is to be connected to.
    Connect4 = 10,
    Connect6 = 11,
    /// The address that a message of UDP goes to.
    Send4 = 14,
    Send6 = 15,
    Sysctl = 18,
    /// The address that a message of UDP has come from.
    Receive4 = 19,
    Receive6 = 20,
    /// The address that a socket is connected to, as it is told.
    PeerName4 = 29,
    PeerName6 = 30,
}

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
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

/// Attaches a program to a cgroup, beside others that may be there, and pins the link.
pub fn attach(
    program: BorrowedFd<'_>,
    kind: Kind,
    cgroup: BorrowedFd<'_>,
    path: &Path,
) -> io::Result<()> {
    let mut attributes = LinkCreate {
        program: number(program)?,
        target: number(cgroup)?,
        attach_type: kind as u32,
        flags: 0,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attributes)?)?;
    pin(link.as_fd(), path)
}

/// Whether a pinned link still holds its program to a cgroup: unlike those of other kinds, such a link can be detached
/// while it lives, and then tells no cgroup (kernel/bpf/cgroup.c: `bpf_cgroup_link_fill_link_info`).
pub fn is_attached(path: &Path) -> io::Result<bool> {
    let link = open_pin(path)?;
    let mut info = LinkInfo::default();
    let mut attributes = ObjectInfo {
        descriptor: number(link.as_fd())?,
        length: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info.cgroup != 0)
}
