//! Descriptors that come from elsewhere.

use std::{
    mem::zeroed,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use agentid_tests::step::Outcome;

use crate::access;

/// What the test has handed over: a socket to it, or a file.
const THERE: RawFd = libc::STDERR_FILENO;
/// More than a message of a test brings.
const ROOM: usize = 16;

/// Takes one message, and closes what came with it.
pub fn receive() -> Outcome {
    let mut byte = 0_u8;
    let mut control = [0_u64; ROOM];
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: integers and pointers, of which zero means "none".
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header's pointers are to room of the lengths that it tells.
    if unsafe { libc::recvmsg(THERE, &raw mut header, libc::MSG_CMSG_CLOEXEC) } < 0 {
        return Outcome::Errno(access::last());
    }
    Outcome::Received {
        descriptors: take(&header),
        truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
    }
}

/// How many descriptors there are. They are closed.
fn take(header: &libc::msghdr) -> usize {
    // SAFETY: the kernel has filled the control messages in and told their lengths; the descriptors are nobody else's.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        if first.is_null() || (*first).cmsg_type != libc::SCM_RIGHTS {
            return 0;
        }
        let bytes = (*first).cmsg_len - libc::CMSG_LEN(0) as usize;
        let count = bytes / size_of::<RawFd>();
        let data: *const RawFd = libc::CMSG_DATA(first).cast();
        for index in 0..count {
            drop(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
        }
        count
    }
}

pub fn fetch() -> Outcome {
    // SAFETY: plain system calls.
    let errno = unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
        if process < 0 {
            return crate::inherit::not_tried("pidfd_open", access::last());
        }
        let found = libc::syscall(libc::SYS_pidfd_getfd, process, THERE, 0);
        let errno = if found < 0 { access::last() } else { 0 };
        for descriptor in [process, found].into_iter().filter(|number| *number >= 0) {
            libc::close(descriptor as RawFd);
        }
        errno
    };
    Outcome::Errno(errno)
}
