//! Processes that meet no hook: one that computes, and those that wait.

use std::{ffi::CStr, hint::spin_loop, io, path::Path, process};

use agentid_tests::step::Outcome;

use crate::{access, change::text, inherit};

pub fn spin() -> Outcome {
    let probe = process::id();
    started(inherit::fork(|| {
        inherit::end_with(probe);
        loop {
            spin_loop();
        }
    }))
}

/// Each of them lives for a moment, and nobody waits for the last one; there are not more than so many.
const HOPS: u32 = 200_000;

pub fn hop(until: &Path) -> io::Result<Outcome> {
    let until = text(until)?;
    Ok(started(inherit::fork(|| {
        for _ in 0..HOPS {
            // SAFETY: the path ends with a zero.
            if unsafe { libc::access(until.as_ptr(), libc::F_OK) } == 0 {
                return 0;
            }
            // SAFETY: the child makes system calls alone.
            match unsafe { libc::fork() } {
                0 => {}
                child if child < 0 => return access::last(),
                _ => return 0,
            }
        }
        0
    })))
}

/// Waits for a byte from a fifo that somebody has open for writing, and then for nothing.
pub fn block(fifo: &Path) -> io::Result<Outcome> {
    let path = text(fifo)?;
    let probe = process::id();
    Ok(started(inherit::fork(|| {
        inherit::end_with(probe);
        wait_at(&path)
    })))
}

fn wait_at(fifo: &CStr) -> i32 {
    // SAFETY: the path ends with a zero, and there is room for one byte.
    unsafe {
        let from = libc::open(fifo.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if from < 0 {
            return access::last();
        }
        let mut byte = [0_u8];
        libc::read(from, byte.as_mut_ptr().cast(), 1);
    }
    // That the read came back is not what it ends from.
    wait_for_nothing()
}

/// Waits for a byte from a fifo, and then for another one.
pub fn read_twice(fifo: &Path) -> io::Result<Outcome> {
    let path = text(fifo)?;
    let probe = process::id();
    Ok(started(inherit::fork(|| {
        inherit::end_with(probe);
        // SAFETY: the path ends with a zero.
        let from = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if take(from) && take(from) { wait_for_nothing() } else { 0 }
    })))
}

fn take(from: i32) -> bool {
    let mut byte = [0_u8];
    // SAFETY: there is room for one byte.
    unsafe { libc::read(from, byte.as_mut_ptr().cast(), 1) == 1 }
}

pub fn pause() -> Outcome {
    let probe = process::id();
    started(inherit::fork(|| {
        inherit::end_with(probe);
        wait_for_nothing()
    }))
}

fn wait_for_nothing() -> ! {
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

fn started(child: Result<libc::pid_t, i32>) -> Outcome {
    match child.map(u32::try_from) {
        Ok(Ok(child)) => Outcome::Process(child),
        Ok(Err(_)) => inherit::not_tried("the child", 0),
        Err(errno) => inherit::not_tried("fork", errno),
    }
}
