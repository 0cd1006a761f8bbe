//! Using up what a run may use, and leaving the cgroup that keeps it to that.

use std::{ffi::CString, mem::zeroed, path::Path, process, ptr};

use agentid_tests::step::Outcome;

use crate::{access, inherit};

/// `CLONE_INTO_CGROUP`, which is more than the C library's type holds.
const INTO_CGROUP: u64 = 1 << 33;
const PAGE: usize = 4096;

/// A child that writes to so much memory, and what has become of it.
pub fn fill(mebibytes: usize) -> Outcome {
    let probe = process::id();
    let child = inherit::fork(|| {
        inherit::end_with(probe);
        let length = mebibytes << 20;
        // SAFETY: new memory, which is only written to where it is.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let memory = libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0);
            if memory == libc::MAP_FAILED {
                return access::last();
            }
            for page in (0..length).step_by(PAGE) {
                memory.cast::<u8>().add(page).write_volatile(1);
            }
        }
        0
    });
    let child = match child {
        Ok(child) => child,
        Err(errno) => return inherit::not_tried("fork", errno),
    };
    let mut status = 0;
    // SAFETY: `status` is there for the call to write.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return inherit::not_tried("waitpid", access::last());
    }
    if libc::WIFSIGNALED(status) {
        Outcome::Killed(libc::WTERMSIG(status))
    } else {
        Outcome::Errno(libc::WEXITSTATUS(status))
    }
}

/// A child in another cgroup, which needs no file of it to be opened.
pub fn leave(group: &Path) -> Outcome {
    let Ok(path) = CString::new(group.as_os_str().as_encoded_bytes()) else {
        return inherit::not_tried("the path", 0);
    };
    // SAFETY: the path ends with a zero.
    let folder = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    let Ok(folder) = u64::try_from(folder) else {
        return inherit::not_tried("open", access::last());
    };
    // SAFETY: integers, of which zero means "none".
    let mut arguments: libc::clone_args = unsafe { zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.flags = INTO_CGROUP;
    arguments.cgroup = folder;
    // SAFETY: without `CLONE_VM` and without a stack this is a fork.
    let child = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    };
    match libc::pid_t::try_from(child) {
        // SAFETY: ends the child at once.
        Ok(0) => unsafe { libc::_exit(0) },
        Ok(child) if child > 0 => Outcome::Errno(inherit::collect(child)),
        _ => Outcome::Errno(access::last()),
    }
}
