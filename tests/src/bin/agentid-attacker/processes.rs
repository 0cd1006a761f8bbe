//! Attempts upon other processes, and upon bpf(2).

use std::{
    ffi::CString,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

use agentid_tests::attack::Management;

use super::mounts::{descriptor, done};

/// More than any command's part of `union bpf_attr`.
const ATTRIBUTES: usize = 128;

const BPF_OBJ_GET: u32 = 7;
const BPF_LINK_DETACH: u32 = 34;

pub fn bpf(command: u32) -> io::Result<()> {
    command_with(command, 0).map(drop)
}

pub fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = descriptor(command_with(BPF_OBJ_GET, path.as_ptr() as u64)?)?;
    let number = u64::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    command_with(BPF_LINK_DETACH, number).map(drop)
}

/// A command of which only the first field has a value.
fn command_with(command: u32, first: u64) -> io::Result<libc::c_long> {
    let mut attributes = [0_u64; ATTRIBUTES / 8];
    attributes[0] = first;
    // SAFETY: the kernel reads and writes at most the given length, and what the first field points to is alive.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), ATTRIBUTES) };
    done(result).map(|()| result)
}

pub fn kill(tgid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    done(unsafe { libc::kill(tgid.cast_signed(), signal) }.into())
}

pub fn pidfd_kill(tgid: u32, signal: i32) -> io::Result<()> {
    let process = open(tgid)?;
    let nothing = ptr::null::<libc::siginfo_t>();
    // SAFETY: without further information about the signal there is no pointer to follow.
    done(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, nothing, 0)
    })
}

/// include/uapi/linux/ioprio.h: `IOPRIO_WHO_PROCESS`, and the class `IOPRIO_CLASS_BE` with its middle priority.
const ONE_PROCESS: libc::c_int = 1;
const USUAL: libc::c_int = 2 << 13 | 4;

pub fn manage(tgid: u32, what: Management) -> io::Result<()> {
    let process = tgid.cast_signed();
    let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 4096 };
    let usual = libc::sched_param { sched_priority: 0 };
    let processors = [1_u64; 1];
    let (from, to) = ([1_u64; 1], [1_u64; 1]);
    // SAFETY: the kernel reads the structures, which are alive, and at most the lengths that it is told.
    done(unsafe {
        match what {
            Management::Limit => {
                libc::prlimit(process, libc::RLIMIT_NOFILE, &raw const limit, ptr::null_mut())
                    .into()
            }
            Management::Priority => libc::setpriority(libc::PRIO_PROCESS, tgid, 5).into(),
            Management::Scheduler => {
                libc::sched_setscheduler(process, libc::SCHED_OTHER, &raw const usual).into()
            }
            Management::Processors => libc::syscall(
                libc::SYS_sched_setaffinity,
                process,
                size_of_val(&processors),
                processors.as_ptr(),
            ),
            Management::InputPriority => {
                libc::syscall(libc::SYS_ioprio_set, ONE_PROCESS, process, USUAL)
            }
            Management::Memory => libc::syscall(
                libc::SYS_migrate_pages,
                process,
                u64::BITS,
                from.as_ptr(),
                to.as_ptr(),
            ),
        }
    })
}

pub fn trace(tgid: u32) -> io::Result<()> {
    // SAFETY: this request takes no pointers.
    done(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tgid.cast_signed(), 0, 0) })?;
    // Outside of any run it works, and the process shall go on as it was: it cannot be let go while it runs.
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tgid.cast_signed(), 0, 0) };
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(tgid.cast_signed()), None)?;
    // SAFETY: as above.
    done(unsafe { libc::ptrace(libc::PTRACE_DETACH, tgid.cast_signed(), 0, 0) })
}

pub fn be_traced() -> io::Result<()> {
    // SAFETY: this request takes no pointers.
    done(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
}

/// The child stops itself once it is traced, so that its tracer can let it go.
pub fn trace_child() -> io::Result<()> {
    // SAFETY: plain system calls; the child does nothing else.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let traced = be_traced().and_then(|()| done(libc::raise(libc::SIGSTOP).into()));
            libc::_exit(traced.err().and_then(|error| error.raw_os_error()).unwrap_or(0));
        }
        done(child.into())?;
        let mut status = 0;
        done(libc::waitpid(child, &raw mut status, 0).into())?;
        if libc::WIFSTOPPED(status) {
            done(libc::ptrace(libc::PTRACE_DETACH, child, 0, 0))?;
            done(libc::kill(child, libc::SIGCONT).into())?;
            done(libc::waitpid(child, &raw mut status, 0).into())?;
        }
        match libc::WEXITSTATUS(status) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

pub fn start_sibling() -> io::Result<()> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without a stack the child goes on as after fork(2), and ends at once.
    unsafe {
        let child = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if child == 0 {
            libc::_exit(0);
        }
        done(child)
    }
}

pub fn read_memory(tgid: u32) -> io::Result<()> {
    let mut byte = 0_u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // Every process of this program's kind is mapped here or not at all; who may not read gets EPERM before that.
    let there = libc::iovec { iov_base: ptr::without_provenance_mut(0x40_0000), iov_len: 1 };
    // SAFETY: the kernel writes one byte, to ours.
    let read = unsafe { libc::process_vm_readv(tgid.cast_signed(), &here, 1, &there, 1, 0) };
    done(i64::try_from(read).map_err(io::Error::other)?)
}

pub fn take_descriptor(tgid: u32) -> io::Result<()> {
    let process = open(tgid)?;
    // SAFETY: takes no pointers.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), 0, 0) }).map(drop)
}

fn open(tgid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, tgid, 0) })
}

/// Has this done by a process of another user, in a group beside its own, that is alone in namespaces of its own; gives what
/// came of it.
pub fn elsewhere(
    uid: u32,
    group: u32,
    act: impl FnOnce() -> io::Result<String>,
) -> io::Result<String> {
    let (mut read, write) = io::pipe()?;
    // SAFETY: this process has one thread, so that its child can do everything that it could.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let told = become_other(uid, group).and_then(|()| act());
        let text = told.unwrap_or_else(|error| format!("{error}"));
        let written = { write }.write_all(text.as_bytes());
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(written.is_err())) }
    }
    drop(write);
    done(child.into())?;
    let mut text = String::new();
    read.read_to_string(&mut text)?;
    // SAFETY: a plain system call on a child of ours.
    done(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }.into())?;
    Ok(text)
}

/// Returns in a child that is all this.
fn become_other(uid: u32, group: u32) -> io::Result<()> {
    // SAFETY: plain system calls; the raw ones are for this thread, which is alone.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID).into())?;
        match libc::fork() {
            0 => {}
            child if child < 0 => return Err(io::Error::last_os_error()),
            child => {
                libc::waitpid(child, ptr::null_mut(), 0);
                libc::_exit(0);
            }
        }
        done(libc::syscall(libc::SYS_setgroups, 1, &raw const group))?;
        done(libc::syscall(libc::SYS_setresgid, uid, uid, uid))?;
        done(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}
