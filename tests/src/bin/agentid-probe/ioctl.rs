//! One ioctl, and its errno.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use agentid_tests::step::{Outcome, Thing};

use crate::{access, inherit};

/// Room for what any command of a test reads or writes.
const ARGUMENT: usize = 8192;
/// arch/x86/entry/syscalls/syscall_32.tbl
const NARROW_IOCTL: i64 = 54;

pub fn ioctl(on: &Thing, command: u32) -> Outcome {
    let thing = match make(on) {
        Ok(thing) => thing,
        Err(error) => return not_made(&error),
    };
    let mut argument = [0_u8; ARGUMENT];
    // SAFETY: `argument` is larger than what the commands of tests touch.
    let done = unsafe {
        libc::ioctl(thing.as_raw_fd(), libc::c_ulong::from(command), argument.as_mut_ptr())
    };
    Outcome::Errno(if done < 0 { access::last() } else { 0 })
}

/// In a child, which a kernel without the 32-bit interface kills.
pub fn narrow(on: &Thing, command: u32) -> Outcome {
    let thing = match make(on) {
        Ok(thing) => thing,
        Err(error) => return not_made(&error),
    };
    let child = inherit::fork(|| {
        let result = call_narrow(thing.as_raw_fd(), command);
        i32::try_from(-result.min(0)).unwrap_or(libc::EIO)
    });
    match child.map(inherit::collect) {
        Ok(errno) if errno <= libc::EHWPOISON => Outcome::Errno(errno),
        Ok(_) => inherit::not_tried("the 32-bit interface", 0),
        Err(errno) => inherit::not_tried("fork", errno),
    }
}

/// What the kernel's 32-bit ioctl returns.
fn call_narrow(descriptor: RawFd, command: u32) -> i64 {
    let mut result = NARROW_IOCTL;
    // SAFETY: the call reads and writes no memory when its third argument is 0. `rbx` is the compiler's own and is
    // given back.
    unsafe {
        std::arch::asm!(
            "xchg {descriptor:r}, rbx",
            "int 0x80",
            "xchg {descriptor:r}, rbx",
            descriptor = inout(reg) i64::from(descriptor) => _,
            inout("rax") result,
            in("rcx") u64::from(command),
            in("rdx") 0_u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // The upper half is the kernel's to leave as it likes.
    i64::from(result as i32)
}

fn not_made(error: &io::Error) -> Outcome {
    inherit::not_tried("the file", error.raw_os_error().unwrap_or(libc::EIO))
}

fn make(thing: &Thing) -> io::Result<OwnedFd> {
    // SAFETY: plain system calls; names end with a zero.
    unsafe {
        match thing {
            Thing::Path(path) => File::open(path).map(OwnedFd::from),
            Thing::Writable(path) => OpenOptions::new().write(true).open(path).map(OwnedFd::from),
            Thing::Terminal => own(libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY)),
            Thing::Socket => own(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)),
            Thing::Pipe => {
                let mut ends = [0; 2];
                if libc::pipe(ends.as_mut_ptr()) < 0 {
                    return Err(io::Error::last_os_error());
                }
                drop(own(ends[1])?);
                own(ends[0])
            }
            Thing::Memory => own(libc::memfd_create(c"memory".as_ptr(), libc::MFD_CLOEXEC)),
            Thing::Counter => own(libc::eventfd(0, libc::EFD_CLOEXEC)),
        }
    }
}

/// # Safety
/// `descriptor` must be -1, or have been opened just now and be nobody else's.
unsafe fn own(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
