//! bpf(2) itself, for the commands that aya does not offer (include/uapi/linux/bpf.h).

use std::{
    ffi::CString,
    io,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
pub const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
pub const BPF_LINK_CREATE: libc::c_long = 28;
pub const BPF_ITER_CREATE: libc::c_long = 33;

/// The part of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for `BPF_MAP_LOOKUP_BATCH`.
#[repr(C)]
struct Batch {
    begin: u64,
    end: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Pins an object where a name is free in a bpffs.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes =
        Object { path: path.as_ptr() as u64, descriptor: number(object)?, flags: 0 };
    bpf(BPF_OBJ_PIN, &mut attributes).map(|_| ())
}

/// Opens what is pinned.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    owned(bpf(BPF_OBJ_GET, &mut attributes)?)
}

/// All `length` values of a pinned array that can be mapped into memory, where the kernel is not asked for each.
pub fn mapped_array<V: aya::Pod>(path: &Path, length: u32) -> io::Result<Vec<V>> {
    let map = open_pin(path)?;
    let elements = usize::try_from(length).map_err(io::Error::other)?;
    // The kernel lays the values out at multiples of eight (kernel/bpf/arraymap.c: `array_map_alloc`).
    let bytes = NonZeroUsize::new(elements * size_of::<V>());
    let bytes = bytes.filter(|_| size_of::<V>().is_multiple_of(8));
    let bytes = bytes.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: a new mapping, at a place that the kernel chooses, where no object of this process is.
    let first = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &map, 0)? };
    let values = first.cast::<V>();
    // SAFETY: the mapping has as many values, of which every pattern of bits is one. The kernel may write to them meanwhile.
    let copy = (0..elements).map(|index| unsafe { values.add(index).read_volatile() }).collect();
    // SAFETY: nothing points there any more.
    unsafe { munmap(first, bytes.get())? };
    Ok(copy)
}

/// All `length` values of a pinned array, with one call instead of one for each.
pub fn array<V: aya::Pod + Default>(path: &Path, length: u32) -> io::Result<Vec<V>> {
    let map = open_pin(path)?;
    let elements = usize::try_from(length).map_err(io::Error::other)?;
    let mut keys = vec![0_u32; elements];
    let mut values = vec![V::default(); elements];
    let mut end = 0_u32;
    let mut attributes = Batch {
        begin: 0,
        end: std::ptr::from_mut(&mut end) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: length,
        map: number(map.as_fd())?,
        element_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes) {
        Ok(_) => {}
        // Says that there is nothing after the last (kernel/bpf/syscall.c: `generic_map_lookup_batch`).
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    if attributes.count == length { Ok(values) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The number by which the kernel's structures name a descriptor.
pub fn number(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

/// What a command that gives a descriptor gave.
pub fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

pub fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes, takes what is missing as zeros, writes further only
    // where a field points to, in the length that another one says, and keeps nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
