//! What the kernel programs list: lines of one type of the ABI, which an iterator writes into a file.

use std::{
    fs::File,
    io::{self, Read},
    mem::offset_of,
    ops::ControlFlow,
    os::fd::{AsFd as _, BorrowedFd},
};

use agentid_common::{
    net::Address,
    record::{ShareLine, SocketLine, TaskLine},
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

impl Listed for ShareLine {
    fn of(line: &Line<'_>) -> Option<Self> {
        Some(Self {
            memory_at: line.u64(offset_of!(Self, memory_at))?,
            descriptors_at: line.u64(offset_of!(Self, descriptors_at))?,
            folder_at: line.u64(offset_of!(Self, folder_at))?,
            tgid: line.u32(offset_of!(Self, tgid))?,
            tid: line.u32(offset_of!(Self, tid))?,
            memory: line.u32(offset_of!(Self, memory))?,
            descriptors: line.u32(offset_of!(Self, descriptors))?,
            folder: line.u32(offset_of!(Self, folder))?,
            ring: line.u32(offset_of!(Self, ring))?,
        })
    }
}

impl Listed for SocketLine {
    fn of(line: &Line<'_>) -> Option<Self> {
        Some(Self {
            generation: line.u64(offset_of!(Self, generation))?,
            cookie: line.u64(offset_of!(Self, cookie))?,
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
            device: line.u32(offset_of!(Self, device))?,
            orphan: line.u32(offset_of!(Self, orphan))?,
            reserved: 0,
        })
    }
}

/// Hands out one line after the other, to the end of the list or until enough was seen.
pub fn each<L: Listed>(
    mut list: impl Read,
    mut see: impl FnMut(L) -> ControlFlow<()>,
) -> Result<(), ListError> {
    let length = size_of::<L>();
    // What has been read and not handed out is in front.
    let (mut bytes, mut have) = (vec![0; AT_ONCE], 0);
    loop {
        let read = match list.read(bytes.get_mut(have..).unwrap_or_default()) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ListError::Read(error)),
        };
        let torn = ListError::Torn { have, line: length };
        if read == 0 {
            return if have == 0 { Ok(()) } else { Err(torn) };
        }
        have += read;
        let mut lines = bytes.get(..have).unwrap_or_default().chunks_exact(length);
        for line in &mut lines {
            let Some(line) = L::of(&Line(line)) else { return Err(torn) };
            if see(line).is_break() {
                return Ok(());
            }
        }
        let rest = lines.remainder().len();
        bytes.copy_within(have - rest..have, 0);
        have = rest;
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

/// `union bpf_iter_link_info`: its first member says over which map, or over which task, and the rest of it is nothing.
#[repr(C)]
struct LinkInfo {
    only: u32,
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
    of_one(program, number(map)?)
}

/// The same of one task, by its number.
pub fn of_task(program: BorrowedFd<'_>, task: u32) -> io::Result<File> {
    of_one(program, task)
}

/// The same of all tasks.
pub fn of_all(program: BorrowedFd<'_>) -> io::Result<File> {
    open(program, None)
}

fn of_one(program: BorrowedFd<'_>, only: u32) -> io::Result<File> {
    open(program, Some(LinkInfo { only }))
}

fn open(program: BorrowedFd<'_>, info: Option<LinkInfo>) -> io::Result<File> {
    let info = info.as_ref();
    let mut attributes = LinkCreate {
        program: number(program)?,
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: info.map_or(0, |info| std::ptr::from_ref(info) as u64),
        length: u32::try_from(info.map_or(0, size_of_val)).map_err(io::Error::other)?,
        reserved: 0,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attributes)?)?;
    let mut attributes = IterCreate { link: number(link.as_fd())?, flags: 0 };
    Ok(owned(bpf(BPF_ITER_CREATE, &mut attributes)?)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has in pieces of so many bytes.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(room.len());
            self.0.read(room.get_mut(..length).unwrap_or_default())
        }
    }

    fn slots(bytes: &[u8], piece: usize, most: usize) -> Result<Vec<u32>, ListError> {
        let mut slots = Vec::new();
        each(Pieces(bytes, piece), |line: TaskLine| {
            slots.push(line.slot);
            if slots.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(slots)
    }

    #[test]
    fn lines_are_whole_however_they_come_and_a_torn_one_is_an_error() {
        const LINES: u32 = 5000;
        let length = size_of::<TaskLine>();
        let mut bytes = Vec::new();
        for slot in 0..LINES {
            let mut line = vec![0; length];
            line[offset_of!(TaskLine, slot)..][..4].copy_from_slice(&slot.to_ne_bytes());
            bytes.extend(line);
        }
        for piece in [1, length - 1, length, length + 1, AT_ONCE, 2 * AT_ONCE] {
            assert_eq!(slots(&bytes, piece, usize::MAX).unwrap(), Vec::from_iter(0..LINES));
            assert_eq!(slots(&bytes, piece, 2).unwrap(), [0, 1]);
            bytes.pop();
            assert!(slots(&bytes, piece, usize::MAX).is_err(), "{piece}");
            bytes.push(0);
        }
        assert_eq!(slots(&[], 1, 1).unwrap(), [0; 0]);
    }
}
