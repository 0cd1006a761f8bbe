//! Two processes that have something in common, of which no file of /proc tells; and one whose memory another one reads slowly.

use std::{
    io::{Read as _, Write as _},
    mem::size_of,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::null_mut,
};

use anyhow::{Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd as _;

/// Enough for somebody who waits.
const STACK: usize = 1 << 16;
const PAGE: usize = 4096;

/// Writes the number of a child that shares this with it, and ends with it when standard input does.
pub fn share(what: &str) -> Result<()> {
    let flag = match what {
        "memory" => libc::CLONE_VM,
        "descriptors" => libc::CLONE_FILES,
        "folders" => libc::CLONE_FS,
        other => bail!("{other} is nothing to share"),
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    // SAFETY: the child has the stack for itself, and does nothing but wait.
    let child = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(wait, top.cast(), flag | libc::SIGCHLD, null_mut())
    };
    ensure!(child > 0, "clone: {}", std::io::Error::last_os_error());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{child}")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    end(child)
}

extern "C" fn wait(_: *mut libc::c_void) -> libc::c_int {
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

/// Ends a child, and waits for it.
pub fn end(child: libc::pid_t) -> Result<()> {
    // SAFETY: plain system calls; `status` is there for the second to write.
    unsafe {
        ensure!(libc::kill(child, libc::SIGKILL) == 0, "kill: {}", std::io::Error::last_os_error());
        let mut status = 0;
        let waited = libc::waitpid(child, &raw mut status, 0);
        ensure!(waited == child, "waitpid: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// include/uapi/linux/userfaultfd.h
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32.cast_signed() as libc::Ioctl;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32.cast_signed() as libc::Ioctl;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

/// Starts a child of root's that is in the middle of reading this process's memory, and stays there until it is ended.
pub fn slow_reader() -> Result<()> {
    let (protection, how) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a plain system call, which places it where nothing is.
    let page = unsafe { libc::mmap(null_mut(), PAGE, protection, how, -1, 0) };
    ensure!(page != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    // SAFETY: the call gives a new descriptor or none.
    let faults = unsafe {
        let made = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
        ensure!(made >= 0, "userfaultfd: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(made)?)
    };
    let mut api = [UFFD_API, 0, 0];
    let mut range = [page as u64, PAGE as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
    // SAFETY: both are as long as the kernel takes them for.
    unsafe {
        let done = libc::ioctl(faults.as_raw_fd(), UFFDIO_API, api.as_mut_ptr());
        ensure!(done == 0, "UFFDIO_API: {}", std::io::Error::last_os_error());
        let done = libc::ioctl(faults.as_raw_fd(), UFFDIO_REGISTER, range.as_mut_ptr());
        ensure!(done == 0, "UFFDIO_REGISTER: {}", std::io::Error::last_os_error());
    }
    // SAFETY: the only thread; the child makes one system call.
    let reader = match unsafe { libc::fork() } {
        0 => read_parent(page),
        child => child,
    };
    ensure!(reader > 0, "fork: {}", std::io::Error::last_os_error());
    // It is told when the reader has come to the page. The child has the descriptor as well, so that nobody gives it one.
    let mut set = [PollFd::new(faults.as_fd(), PollFlags::POLLIN)];
    ensure!(poll(&mut set, PollTimeout::NONE)? == 1, "nobody reads");
    let told = set[0].revents();
    ensure!(told == Some(PollFlags::POLLIN), "the reader is not there: {told:?}");
    Ok(())
}

fn read_parent(page: *mut libc::c_void) -> ! {
    let mut byte = 0_u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: page, iov_len: 1 };
    // SAFETY: the byte is there for the kernel to write.
    unsafe {
        let read =
            libc::process_vm_readv(libc::getppid(), &raw const here, 1, &raw const there, 1, 0);
        libc::_exit(i32::from(read != 1))
    }
}
