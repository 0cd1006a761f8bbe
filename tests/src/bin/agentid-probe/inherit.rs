//! Tasks that come to be in every way, each of which tries one open and has its errno as its exit status.
//!
//! A child may do nothing but system calls: the probe can have other threads, which do not exist in it.

use std::{
    ffi::{CStr, CString},
    mem::zeroed,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr::null,
};

use agentid_tests::step::{Outcome, Way};

use crate::{access, ring};

/// Exit status of a child that did not get as far as its open.
const NOT_TRIED: i32 = 255;
const NOBODY: libc::uid_t = 65534;
const STACK: usize = 64 * 1024;
const ITSELF: &CStr = c"/proc/self/exe";

pub fn inherit(way: Way, path: &Path) -> Outcome {
    let Ok(text) = CString::new(path.as_os_str().as_bytes()) else {
        return Outcome::Errno(libc::EINVAL);
    };
    let path = text.as_c_str();
    match way {
        Way::Fork => forked(|| open(path)),
        Way::Vfork => collected("clone", vfork(path)),
        Way::Thread => threaded(&text),
        Way::Clone3 => collected("clone3", clone3(path)),
        Way::Orphan => forked(|| orphan(path)),
        Way::Exec => forked(|| reexecute(path)),
        Way::Setuid => forked(|| become_nobody(path)),
        Way::Namespaces => forked(|| leave_namespaces(path)),
        Way::Chroot => forked(|| change_root(path)),
        Way::IoUring => ring::open(path),
    }
}

/// Executes a file in a child.
pub fn execute(path: &Path, arguments: &[String]) -> Outcome {
    let done = std::process::Command::new(path).args(arguments).status();
    Outcome::Errno(match done {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    })
}

/// include/uapi/linux/fcntl.h
const AT_EXECVE_CHECK: libc::c_int = 0x10000;

/// Executes a file of memory, which holds no program, in a child.
pub fn execute_memory() -> Outcome {
    with_memory(execute_open)
}

/// Asks whether it may be executed.
pub fn check_memory() -> Outcome {
    with_memory(check)
}

fn with_memory(what: fn(libc::c_int) -> Outcome) -> Outcome {
    // SAFETY: a plain system call with a C string.
    let memory = unsafe { libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC) };
    if memory < 0 {
        return not_tried("memfd_create", access::last());
    }
    let outcome = what(memory);
    // SAFETY: the descriptor was just made.
    unsafe { libc::close(memory) };
    outcome
}

/// Executes a file that is open, with the argument `nothing`, in a child.
pub fn execute_open(file: libc::c_int) -> Outcome {
    forked(|| execute_with(file, 0))
}

/// Asks whether a file that is open may be executed; nothing is.
pub fn check(file: libc::c_int) -> Outcome {
    Outcome::Errno(execute_with(file, AT_EXECVE_CHECK))
}

/// Comes back only where the file is not executed.
fn execute_with(file: libc::c_int, flags: libc::c_int) -> libc::c_int {
    let arguments = [c"program".as_ptr(), c"nothing".as_ptr(), null()];
    let flags = libc::AT_EMPTY_PATH | flags;
    // SAFETY: the lists and their strings end with zeros.
    let done = unsafe {
        let (list, none) = (arguments.as_ptr(), null::<*const libc::c_char>());
        libc::syscall(libc::SYS_execveat, file, c"".as_ptr(), list, none, flags)
    };
    if done < 0 { access::last() } else { 0 }
}

/// Children that wait, and end with the probe.
pub fn park(processes: u32) -> Outcome {
    for _ in 0..processes {
        let probe = std::process::id();
        // SAFETY: the child does nothing but system calls.
        match unsafe { libc::fork() } {
            0 => wait_forever(probe),
            child if child < 0 => return Outcome::Errno(access::last()),
            _ => {}
        }
    }
    Outcome::Errno(0)
}

fn wait_forever(probe: u32) -> ! {
    end_with(probe);
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

/// A child of the probe ends with it at the latest, so that it is nobody's when the test is over.
pub fn end_with(probe: u32) {
    // SAFETY: plain system calls.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // A probe that had ended by then sends nothing any more.
        if libc::getppid().cast_unsigned() != probe {
            libc::_exit(0);
        }
    }
}

/// Opens a file for reading, with system calls alone.
pub fn open(path: &CStr) -> i32 {
    // SAFETY: the path ends with a zero.
    let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if descriptor < 0 {
        return access::last();
    }
    // SAFETY: the descriptor was just opened.
    unsafe { libc::close(descriptor) };
    0
}

/// What a child's exit status says.
pub fn collect(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is there for the call to write.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return access::last();
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { NOT_TRIED }
}

fn collected(call: &str, child: Result<libc::pid_t, i32>) -> Outcome {
    match child.map(collect) {
        Ok(NOT_TRIED) => not_tried("the child", 0),
        Ok(errno) => Outcome::Errno(errno),
        Err(errno) => not_tried(call, errno),
    }
}

pub fn not_tried(at: &str, errno: i32) -> Outcome {
    Outcome::NotTried { at: at.to_owned(), errno }
}

fn forked(child: impl FnOnce() -> i32) -> Outcome {
    collected("fork", fork(child))
}

/// A child that exits with what `child` gives.
pub fn fork(child: impl FnOnce() -> i32) -> Result<libc::pid_t, i32> {
    // SAFETY: the child makes system calls alone, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child at once.
        0 => unsafe { libc::_exit(child()) },
        child if child < 0 => Err(access::last()),
        child => Ok(child),
    }
}

extern "C" fn open_and_exit(path: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `path` is the C string that the parent gave, which waits for the child.
    open(unsafe { CStr::from_ptr(path.cast()) })
}

/// A child in the same memory; the parent goes on when it has exited.
pub fn vfork(path: &CStr) -> Result<libc::pid_t, i32> {
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child has the stack for itself, and the parent sleeps until it has exited.
    let child = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(open_and_exit, top.cast(), flags, path.as_ptr().cast_mut().cast())
    };
    if child < 0 { Err(access::last()) } else { Ok(child) }
}

fn threaded(path: &CString) -> Outcome {
    let path = path.clone();
    match std::thread::Builder::new().spawn(move || open(&path)) {
        Ok(thread) => Outcome::Errno(thread.join().unwrap_or(NOT_TRIED)),
        Err(error) => not_tried("pthread_create", error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

pub fn clone3(path: &CStr) -> Result<libc::pid_t, i32> {
    // SAFETY: integers, of which zero means "none".
    let mut arguments: libc::clone_args = unsafe { zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without `CLONE_VM` and without a stack this is a fork.
    let child = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    };
    match child {
        // SAFETY: ends the child at once.
        0 => unsafe { libc::_exit(open(path)) },
        child if child < 0 => Err(access::last()),
        child => libc::pid_t::try_from(child).map_err(|_| libc::EOVERFLOW),
    }
}

/// A grandchild, whose parent has exited before it tries. Its status comes back through a pipe.
fn orphan(path: &CStr) -> i32 {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
        return NOT_TRIED;
    }
    let [from, to] = ends;
    let child = fork(|| {
        let grandchild = fork(|| {
            // SAFETY: plain system calls.
            unsafe { libc::setsid() };
            await_orphanage();
            let errno = open(path);
            // SAFETY: writes the number's bytes.
            unsafe { libc::write(to, (&raw const errno).cast(), size_of::<i32>()) };
            0
        });
        i32::from(grandchild.is_err())
    });
    if child.map(collect) != Ok(0) {
        return NOT_TRIED;
    }
    let mut errno = NOT_TRIED;
    // SAFETY: reads into the number's bytes; without the writing end the read would end with the grandchild.
    unsafe {
        libc::close(to);
        libc::read(from, (&raw mut errno).cast(), size_of::<i32>());
    }
    errno
}

/// Returns when the parent is gone and another process has taken its place.
fn await_orphanage() {
    // SAFETY: plain system calls.
    unsafe {
        let parent = libc::getppid();
        while libc::getppid() == parent && parent != 1 {
            libc::sched_yield();
        }
    }
}

fn reexecute(path: &CStr) -> i32 {
    let arguments = [c"agentid-probe".as_ptr(), c"open".as_ptr(), path.as_ptr(), null()];
    // SAFETY: the list and its strings end with zeros.
    unsafe { libc::execv(ITSELF.as_ptr(), arguments.as_ptr()) };
    NOT_TRIED
}

fn become_nobody(path: &CStr) -> i32 {
    // SAFETY: plain system calls. The raw ones, because the C library would want to tell threads that are not there.
    let done = unsafe {
        libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY) == 0
            && libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0
    };
    if done { open(path) } else { NOT_TRIED }
}

fn leave_namespaces(path: &CStr) -> i32 {
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    // SAFETY: a plain system call.
    if unsafe { libc::unshare(flags) } != 0 {
        return NOT_TRIED;
    }
    // Only a child is in the new namespace of processes.
    fork(|| open(path)).map_or(NOT_TRIED, collect)
}

fn change_root(path: &CStr) -> i32 {
    // SAFETY: a plain system call with a C string.
    if unsafe { libc::chroot(c"/".as_ptr()) } != 0 {
        return NOT_TRIED;
    }
    // SAFETY: as above.
    if unsafe { libc::chdir(c"/".as_ptr()) } != 0 {
        return NOT_TRIED;
    }
    open(path)
}
