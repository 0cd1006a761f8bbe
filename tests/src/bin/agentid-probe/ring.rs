//! What a worker of io_uring does: a thread that the kernel starts for the probe.

use std::{
    cell::Cell,
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering},
};

use agentid_tests::step::Outcome;

use crate::{access, inherit::not_tried};

/// include/uapi/linux/io_uring.h
const OFF_SQ_RING: libc::off_t = 0;
const OFF_SQES: libc::off_t = 0x1000_0000;
const OP_SENDMSG: u8 = 9;
const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const OP_RECV: u8 = 27;
const OP_SETXATTR: u8 = 42;
const OP_SOCKET: u8 = 45;
const REGISTER_PERSONALITY: libc::c_uint = 9;
/// A thread of the kernel takes what is written to the ring, without a call (`IORING_SETUP_SQPOLL`).
pub const POLLED: u32 = 1 << 1;
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

/// `struct io_uring_sqe`. The rest is, in 16 and 16 and 32 bits, a buffer, a personality and a file, then an address.
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

impl Submission {
    const fn new(operation: u8) -> Self {
        Self {
            operation,
            flags: SQE_ASYNC,
            priority: 0,
            descriptor: libc::AT_FDCWD,
            offset: 0,
            address: 0,
            length: 0,
            open_flags: 0,
            user: 0,
            rest: [0; 3],
        }
    }
}

/// Opens a file for reading.
pub fn open(path: &CStr) -> Outcome {
    let (ring, params) = match set_up() {
        Ok(made) => made,
        Err(errno) => return not_tried("io_uring_setup", errno),
    };
    let submission = Submission {
        address: path.as_ptr().addr() as u64,
        open_flags: (libc::O_RDONLY | libc::O_CLOEXEC) as u32,
        ..Submission::new(OP_OPENAT)
    };
    match submit(&ring, &params, submission) {
        Ok(result) if result >= 0 => {
            // SAFETY: the descriptor was just opened.
            unsafe { libc::close(result) };
            Outcome::Errno(0)
        }
        Ok(result) => Outcome::Errno(-result),
        Err(call) => not_tried(call, access::last()),
    }
}

/// Sets an extended attribute, with credentials that are registered and then no longer the probe's own.
pub fn set_attribute(path: &Path) -> Outcome {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return Outcome::Errno(libc::EINVAL);
    };
    let (ring, params) = match set_up() {
        Ok(made) => made,
        Err(errno) => return not_tried("io_uring_setup", errno),
    };
    // SAFETY: the call takes no argument.
    let lent = unsafe {
        let none = null_mut::<libc::c_void>();
        let fd = ring.as_raw_fd();
        libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_PERSONALITY, none, 0)
    };
    let Ok(lent) = u16::try_from(lent) else {
        return not_tried("io_uring_register", access::last());
    };
    // Gives the probe another set of credentials, in which nothing is different.
    // SAFETY: takes plain integers.
    if unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1) } < 0 {
        return not_tried("prctl", access::last());
    }
    let (name, value) = (c"user.lent", b"value");
    let submission = Submission {
        offset: value.as_ptr().addr() as u64,
        address: name.as_ptr().addr() as u64,
        length: value.len() as u32,
        rest: [u64::from(lent) << 16, path.as_ptr().addr() as u64, 0],
        ..Submission::new(OP_SETXATTR)
    };
    match submit(&ring, &params, submission) {
        Ok(result) => Outcome::Errno(-result),
        Err(call) => not_tried(call, access::last()),
    }
}

/// Makes a socket: its descriptor, or the negative errno.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<i32, String> {
    once(Submission {
        descriptor: family,
        offset: u64::from(kind.cast_unsigned()),
        length: protocol.cast_unsigned(),
        ..Submission::new(OP_SOCKET)
    })
}

/// Connects a socket to the address of that length: 0, or the negative errno.
pub fn connect(socket: RawFd, address: *const libc::sockaddr, length: u32) -> Result<i32, String> {
    once(Submission {
        descriptor: socket,
        address: address.addr() as u64,
        offset: u64::from(length),
        ..Submission::new(OP_CONNECT)
    })
}

/// Sends a message: how many bytes, or the negative errno.
pub fn send(socket: RawFd, message: *const libc::msghdr, flags: i32) -> Result<i32, String> {
    once(Submission {
        descriptor: socket,
        address: message.addr() as u64,
        length: 1,
        open_flags: flags.cast_unsigned(),
        ..Submission::new(OP_SENDMSG)
    })
}

fn once(submission: Submission) -> Result<i32, String> {
    let (ring, params) = set_up().map_err(|errno| format!("io_uring_setup: {errno}"))?;
    submit(&ring, &params, submission).map_err(|call| format!("{call}: {}", access::last()))
}

/// A ring of which nothing is mapped yet.
pub fn bare(flags: u32) -> Result<OwnedFd, i32> {
    set_up_with(flags).map(|(ring, _)| ring)
}

/// Maps a ring for as long as the process lives.
pub fn map_rings(ring: &OwnedFd) -> Option<()> {
    map(ring, OFF_SQ_RING).map(drop)
}

fn set_up() -> Result<(OwnedFd, Params), i32> {
    set_up_with(0)
}

fn set_up_with(flags: u32) -> Result<(OwnedFd, Params), i32> {
    let mut params = Params { flags, ..Params::default() };
    // SAFETY: `params` has the layout that the call reads and writes.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) };
    match RawFd::try_from(ring).ok().filter(|ring| *ring >= 0) {
        // SAFETY: the call has just made the descriptor, and nobody else has it.
        Some(ring) => Ok((unsafe { OwnedFd::from_raw_fd(ring) }, params)),
        None => Err(access::last()),
    }
}

fn submit(ring: &OwnedFd, params: &Params, submission: Submission) -> Result<i32, &'static str> {
    let mapped = Mapped::new(ring, params).ok_or("mmap")?;
    mapped.submit(ring, params, submission, 0).ok_or("io_uring_enter")
}

/// The memory that a ring of one entry shares with the kernel.
struct Mapped {
    rings: *mut u8,
    entries: *mut Submission,
}

impl Mapped {
    fn new(ring: &OwnedFd, params: &Params) -> Option<Self> {
        // One mapping holds both rings since Linux 5.4; with one entry it is a page.
        let rings = map(ring, OFF_SQ_RING)?;
        let entries = map(ring, OFF_SQES)?.cast();
        // SAFETY: the offset is the kernel's own and lies within the page; the first entry is the only one.
        unsafe { word(rings, params.submission.seventh).store(0, Ordering::Relaxed) };
        Some(Self { rings, entries })
    }

    /// What became of it; it is the one with this number, from 0. `None` when the kernel did not take it.
    fn submit(
        &self,
        ring: &OwnedFd,
        params: &Params,
        submission: Submission,
        number: u32,
    ) -> Option<i32> {
        // SAFETY: the offsets are the kernel's own and lie within the page.
        unsafe {
            self.entries.write(submission);
            word(self.rings, params.submission.tail).store(number + 1, Ordering::Release);
        }
        // SAFETY: what the entry points to outlives the wait for its completion.
        let done = unsafe {
            let none = null_mut::<libc::c_void>();
            let fd = ring.as_raw_fd();
            libc::syscall(libc::SYS_io_uring_enter, fd, 1, 1, ENTER_GETEVENTS, none, 0)
        };
        if done < 0 {
            return None;
        }
        // SAFETY: one completion is there, in one of two places in turn.
        unsafe {
            word(self.rings, params.completion.tail).load(Ordering::Acquire);
            let completions: *const Completion =
                self.rings.add(params.completion.sixth as usize).cast_const().cast();
            let result = (*completions.add(number as usize % 2)).result;
            word(self.rings, params.completion.head).store(number + 1, Ordering::Release);
            Some(result)
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: both mappings are a page, and nobody else's.
        unsafe {
            libc::munmap(self.rings.cast(), PAGE);
            libc::munmap(self.entries.cast(), PAGE);
        }
    }
}

/// A ring that is made once and used again and again, also when nothing can be mapped any more.
pub struct Lasting {
    ring: OwnedFd,
    params: Params,
    mapped: Mapped,
    submitted: Cell<u32>,
}

impl Lasting {
    pub fn new() -> io::Result<Self> {
        let (ring, params) = set_up().map_err(io::Error::from_raw_os_error)?;
        let mapped = Mapped::new(&ring, &params).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { ring, params, mapped, submitted: Cell::new(0) })
    }

    /// Takes one byte from a socket, without waiting.
    pub fn receive(&self, socket: RawFd) -> io::Result<()> {
        let mut byte = 0_u8;
        let submission = Submission {
            // After the end of the run there is no worker that could be started.
            flags: 0,
            descriptor: socket,
            address: (&raw mut byte).addr() as u64,
            length: 1,
            open_flags: libc::MSG_DONTWAIT.cast_unsigned(),
            ..Submission::new(OP_RECV)
        };
        let number = self.submitted.replace(self.submitted.get() + 1);
        match self.mapped.submit(&self.ring, &self.params, submission, number) {
            Some(result) if result >= 0 => Ok(()),
            Some(result) => Err(io::Error::from_raw_os_error(-result)),
            None => Err(io::Error::last_os_error()),
        }
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
