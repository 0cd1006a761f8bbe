//! An open that a worker of io_uring does: a thread that the kernel starts for the probe.

use std::{
    ffi::CStr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering},
};

use agentid_tests::step::Outcome;

use crate::{access, inherit::not_tried};

/// include/uapi/linux/io_uring.h
const OFF_SQ_RING: libc::off_t = 0;
const OFF_SQES: libc::off_t = 0x1000_0000;
const OP_OPENAT: u8 = 18;
/// Not in the caller's own context: by a worker.
const SQE_ASYNC: u8 = 1 << 4;
const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTRIES: libc::c_uint = 1;
const PAGE: usize = 4096;

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    entries: [u32; 2],
    flags: u32,
    cpu: u32,
    idle: u32,
    features: u32,
    queue: u32,
    reserved: [u32; 3],
    submission: Offsets,
    completion: Offsets,
}

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, as far as they are alike.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    /// Submission: flags. Completion: overflow.
    fifth: u32,
    /// Submission: dropped. Completion: the entries themselves.
    sixth: u32,
    /// Submission: the array. Completion: flags.
    seventh: u32,
    reserved: u32,
    user: u64,
}

/// `struct io_uring_sqe`.
#[repr(C)]
struct Submission {
    operation: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    offset: u64,
    address: u64,
    length: u32,
    open_flags: u32,
    user: u64,
    rest: [u64; 3],
}

/// `struct io_uring_cqe`.
#[repr(C)]
struct Completion {
    user: u64,
    result: i32,
    flags: u32,
}

/// Opens a file for reading.
pub fn open(path: &CStr) -> Outcome {
    let mut params = Params::default();
    // SAFETY: `params` has the layout that the call reads and writes.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) };
    let Some(ring) = RawFd::try_from(ring).ok().filter(|ring| *ring >= 0) else {
        return not_tried("io_uring_setup", access::last());
    };
    // SAFETY: the call has just made the descriptor, and nobody else has it.
    let ring = unsafe { OwnedFd::from_raw_fd(ring) };
    match submit(&ring, &params, path) {
        Ok(result) if result >= 0 => {
            // SAFETY: the descriptor was just opened.
            unsafe { libc::close(result) };
            Outcome::Errno(0)
        }
        Ok(result) => Outcome::Errno(-result),
        Err(call) => not_tried(call, access::last()),
    }
}

fn submit(ring: &OwnedFd, params: &Params, path: &CStr) -> Result<i32, &'static str> {
    // One mapping holds both rings since Linux 5.4; with one entry it is a page.
    let rings = map(ring, OFF_SQ_RING).ok_or("mmap")?;
    let entries: *mut Submission = map(ring, OFF_SQES).ok_or("mmap")?.cast();
    let submission = Submission {
        operation: OP_OPENAT,
        flags: SQE_ASYNC,
        priority: 0,
        descriptor: libc::AT_FDCWD,
        offset: 0,
        address: path.as_ptr().addr() as u64,
        length: 0,
        open_flags: (libc::O_RDONLY | libc::O_CLOEXEC) as u32,
        user: 0,
        rest: [0; 3],
    };
    // SAFETY: the offsets are the kernel's own and lie within the page; the first entry is the only one.
    unsafe {
        entries.write(submission);
        word(rings, params.submission.seventh).store(0, Ordering::Relaxed);
        word(rings, params.submission.tail).store(1, Ordering::Release);
    }
    // SAFETY: what the entry points to outlives the wait for its completion.
    let done = unsafe {
        let none = null_mut::<libc::c_void>();
        let fd = ring.as_raw_fd();
        libc::syscall(libc::SYS_io_uring_enter, fd, 1, 1, ENTER_GETEVENTS, none, 0)
    };
    if done < 0 {
        return Err("io_uring_enter");
    }
    // SAFETY: one completion is there; both mappings are a page and go with the call.
    unsafe {
        word(rings, params.completion.tail).load(Ordering::Acquire);
        let completions: *const Completion =
            rings.add(params.completion.sixth as usize).cast_const().cast();
        let result = (*completions).result;
        libc::munmap(rings.cast(), PAGE);
        libc::munmap(entries.cast(), PAGE);
        Ok(result)
    }
}

/// A word of the rings, which the kernel reads and writes too.
///
/// # Safety
/// `offset` must be the kernel's own of such a word.
unsafe fn word<'ring>(rings: *mut u8, offset: u32) -> &'ring AtomicU32 {
    // SAFETY: see above; a page is aligned, and so are the kernel's offsets.
    unsafe { AtomicU32::from_ptr(rings.add(offset as usize).cast()) }
}

fn map(ring: &OwnedFd, offset: libc::off_t) -> Option<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping, which overlaps nothing.
    let place = unsafe { libc::mmap(null_mut(), PAGE, access, flags, ring.as_raw_fd(), offset) };
    (place != libc::MAP_FAILED).then_some(place.cast())
}
