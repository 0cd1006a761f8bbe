//! What the kernel programs list: lines of one type of the ABI, which an iterator writes into a file.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    mem::offset_of,
    ops::ControlFlow,
    os::fd::{AsFd as _, BorrowedFd},
};

use agentid_common::{
    net::Address,
    record::{SocketLine, TaskLine},
};

use super::sys::{BPF_ITER_CREATE, BPF_LINK_CREATE, bpf, number, owned};

/// Bytes that are asked of the kernel at a time.
const AT_ONCE: usize = 1 << 16;

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("read it")]
    Read(#[source] io::Error),
    #[error("its last line has {have} bytes instead of {line}")]
    Torn { have: usize, line: usize },
}

/// A type whose values are lines.
pub trait Listed: Sized {
    fn of(line: &Line<'_>) -> Option<Self>;
}

/// The bytes of one line.
pub struct Line<'a>(&'a [u8]);

impl Line<'_> {
    fn take<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.take(at).map(u16::from_ne_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.take(at).map(u32::from_ne_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.take(at).map(u64::from_ne_bytes)
    }
}

impl Listed for TaskLine {
    fn of(line: &Line<'_>) -> Option<Self> {
        Some(Self {
            generation: line.u64(offset_of!(Self, generation))?,
            slot: line.u32(offset_of!(Self, slot))?,
            tgid: line.u32(offset_of!(Self, tgid))?,
            tid: line.u32(offset_of!(Self, tid))?,
            reserved: 0,
        })
    }
}

impl Listed for SocketLine {
    fn of(line: &Line<'_>) -> Option<Self> {
        Some(Self {
            generation: line.u64(offset_of!(Self, generation))?,
            slot: line.u32(offset_of!(Self, slot))?,
            mark: line.u32(offset_of!(Self, mark))?,
            own: Address(line.take(offset_of!(Self, own))?),
            peer: Address(line.take(offset_of!(Self, peer))?),
            own_port: line.u16(offset_of!(Self, own_port))?,
            peer_port: line.u16(offset_of!(Self, peer_port))?,
            family: line.u16(offset_of!(Self, family))?,
            kind: line.u16(offset_of!(Self, kind))?,
            protocol: line.u16(offset_of!(Self, protocol))?,
            state: line.u16(offset_of!(Self, state))?,
            reserved: 0,
        })
    }
}

/// Hands out one line after the other, to the end of the list or until enough was seen.
pub fn each<L: Listed>(
    list: File,
    mut see: impl FnMut(L) -> ControlFlow<()>,
) -> Result<(), ListError> {
    let mut list = BufReader::with_capacity(AT_ONCE, list);
    let length = size_of::<L>();
    let mut bytes = Vec::with_capacity(length);
    loop {
        bytes.clear();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        let have = list.by_ref().take(limit).read_to_end(&mut bytes).map_err(ListError::Read)?;
        if have == 0 {
            return Ok(());
        }
        let line = L::of(&Line(&bytes)).filter(|_| have == length);
        let line = line.ok_or(ListError::Torn { have, line: length })?;
        if see(line).is_break() {
            return Ok(());
        }
    }
}

/// Every line.
pub fn all<L: Listed>(list: File) -> Result<Vec<L>, ListError> {
    let mut lines = Vec::new();
    each(list, |line| {
        lines.push(line);
        ControlFlow::Continue(())
    })?;
    Ok(lines)
}

/// Whether there is a line like this.
pub fn any<L: Listed>(list: File, mut is_it: impl FnMut(&L) -> bool) -> Result<bool, ListError> {
    let mut found = false;
    each(list, |line| {
        found = is_it(&line);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// The part of `union bpf_attr` for `BPF_LINK_CREATE` of an iterator.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    length: u32,
    reserved: u32,
}

/// `union bpf_iter_link_info` of an iterator over a map.
#[repr(C)]
struct LinkInfo {
    map: u32,
}

/// The part of `union bpf_attr` for `BPF_ITER_CREATE`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// include/uapi/linux/bpf.h: `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;

/// Has a program write its list of what is in a map. aya opens iterators over nothing but the whole kernel; the link goes
/// with the file.
pub fn of_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<File> {
    let info = LinkInfo { map: number(map)? };
    let mut attributes = LinkCreate {
        program: number(program)?,
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: std::ptr::from_ref(&info) as u64,
        length: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        reserved: 0,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attributes)?)?;
    let mut attributes = IterCreate { link: number(link.as_fd())?, flags: 0 };
    Ok(owned(bpf(BPF_ITER_CREATE, &mut attributes)?)?.into())
}
