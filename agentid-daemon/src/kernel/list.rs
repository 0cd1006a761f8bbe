//! What the kernel programs list: lines of one type of the ABI, which an iterator writes into a file.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd},
};

use agentid_common::layout::{LAYOUTS, Layout};

use super::sys::{BPF_ITER_CREATE, BPF_LINK_CREATE, bpf, number, owned};

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("read it")]
    Read(#[source] io::Error),
    #[error("{have} bytes are no whole number of lines of {line}")]
    Torn { have: usize, line: usize },
    #[error("the layout of {0} is not known")]
    Unknown(&'static str),
    #[error("a line of {line} bytes has no such field as {field}")]
    Field { field: &'static str, line: usize },
}

/// One line.
pub struct Line<'a> {
    layout: &'static Layout,
    bytes: &'a [u8],
}

impl Line<'_> {
    /// The bytes of a field.
    pub fn take<const N: usize>(&self, name: &'static str) -> Result<[u8; N], ListError> {
        let missing = || ListError::Field { field: name, line: self.bytes.len() };
        let field = self.layout.fields.iter().find(|known| known.name == name && known.size == N);
        let at = field.ok_or_else(missing)?.offset;
        self.bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or_else(missing)
    }

    pub fn u16(&self, name: &'static str) -> Result<u16, ListError> {
        self.take(name).map(u16::from_ne_bytes)
    }

    pub fn u32(&self, name: &'static str) -> Result<u32, ListError> {
        self.take(name).map(u32::from_ne_bytes)
    }

    pub fn u64(&self, name: &'static str) -> Result<u64, ListError> {
        self.take(name).map(u64::from_ne_bytes)
    }
}

/// Reads a list to its end; `name` is that of the lines' type.
pub fn read<T>(
    mut file: File,
    name: &'static str,
    line: impl Fn(&Line<'_>) -> Result<T, ListError>,
) -> Result<Vec<T>, ListError> {
    let layout = LAYOUTS.iter().find(|layout| layout.name == name);
    let layout = layout.ok_or(ListError::Unknown(name))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(ListError::Read)?;
    let lines = bytes.chunks_exact(layout.size);
    if !lines.remainder().is_empty() {
        return Err(ListError::Torn { have: bytes.len(), line: layout.size });
    }
    lines.map(|bytes| line(&Line { layout, bytes })).collect()
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
