//! What takes a capability, each by the system call itself; harmless where it is had.
//!
//! The kernel asks for the capability before it looks at the rest, which is mostly wrong: then the errno is another one than
//! that of a missing capability.

use std::ffi::CStr;

use serde::{Deserialize, Serialize};

/// One thing that takes a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// A module of no bytes.
    InitModule,
    /// A module from no file.
    FinitModule,
    /// A module that is not there.
    DeleteModule,
    /// What is no mount point.
    Unmount,
    /// A filesystem that nobody has.
    FsOpen,
    /// A copy of the root's mount, attached nowhere.
    OpenTree,
    /// To what is no mount point.
    PivotRoot,
    MountNamespace,
    /// The namespace of names that the process is in already.
    EnterNamespace,
    /// A name that is too long.
    HostName,
    /// On what is not there.
    SwapOn,
    /// A watch that decides about what others open.
    Fanotify,
    /// With wrong magic numbers.
    Reboot,
    /// With flags that nobody knows.
    Kexec,
    /// The time zone that the kernel has from the beginning.
    SetTimeZone,
    IoPort,
    IoLevel,
    /// Counts what a whole processor does.
    Perf,
    /// How much of the kernel's log is unread.
    KernelLog,
    /// A handle of nothing.
    OpenByHandle,
    WakingTimer,
    /// A process with the number of one that is there.
    ChosenPid,
    /// A byte of a child that has become somebody else.
    ReadOther,
    /// Needs no capability, and gives all of them.
    UserNamespace,
    /// The same by clone3(2).
    CloneUserNamespace,
}

impl Power {
    /// All that take one.
    pub const ALL: [Self; 23] = [
        Self::InitModule,
        Self::FinitModule,
        Self::DeleteModule,
        Self::Unmount,
        Self::FsOpen,
        Self::OpenTree,
        Self::PivotRoot,
        Self::MountNamespace,
        Self::EnterNamespace,
        Self::HostName,
        Self::SwapOn,
        Self::Fanotify,
        Self::Reboot,
        Self::Kexec,
        Self::SetTimeZone,
        Self::IoPort,
        Self::IoLevel,
        Self::Perf,
        Self::KernelLog,
        Self::OpenByHandle,
        Self::WakingTimer,
        Self::ChosenPid,
        Self::ReadOther,
    ];

    /// The capability, as policies name it.
    pub const fn capability(self) -> &'static str {
        match self {
            Self::InitModule | Self::FinitModule | Self::DeleteModule => "sys_module",
            Self::Reboot | Self::Kexec => "sys_boot",
            Self::SetTimeZone => "sys_time",
            Self::IoPort | Self::IoLevel => "sys_rawio",
            Self::Perf => "perfmon",
            Self::KernelLog => "syslog",
            Self::OpenByHandle => "dac_read_search",
            Self::WakingTimer => "wake_alarm",
            Self::ChosenPid => "checkpoint_restore",
            Self::ReadOther => "sys_ptrace",
            _ => "sys_admin",
        }
    }

    /// What the kernel says to whom lacks it.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Perf => libc::EACCES,
            _ => libc::EPERM,
        }
    }

    /// Whether its refusal is recorded as one of its capability: the kernel does not only probe for that, and asks for no
    /// other one instead.
    pub const fn is_recorded(self) -> bool {
        !matches!(self, Self::Perf | Self::OpenByHandle)
    }

    /// Uses it in a child, whose end undoes what it has done; 0, or why it did not work.
    pub fn exercise(self) -> i32 {
        if self == Self::KernelLog {
            // There is nothing to undo, and who may start no child can be told apart.
            return if self.call() < 0 { last() } else { 0 };
        }
        // SAFETY: the child makes system calls alone, and leaves by `_exit`.
        match unsafe { libc::fork() } {
            // SAFETY: ends the child at once.
            0 => unsafe { libc::_exit(if self.call() < 0 { last() } else { 0 }) },
            child if child < 0 => last(),
            child => status(child),
        }
    }

    fn call(self) -> libc::c_long {
        const NOWHERE: &CStr = c"/nowhere";
        let nowhere = NOWHERE.as_ptr();
        let null = std::ptr::null::<u8>();
        // SAFETY: system calls with integers, null, and strings and structures that live as long as the call.
        unsafe {
            match self {
                Self::InitModule => libc::syscall(libc::SYS_init_module, null, 0, c"".as_ptr()),
                Self::FinitModule => libc::syscall(libc::SYS_finit_module, -1, c"".as_ptr(), 0),
                Self::DeleteModule => {
                    libc::syscall(libc::SYS_delete_module, c"nowhere".as_ptr(), libc::O_NONBLOCK)
                }
                Self::Unmount => libc::syscall(libc::SYS_umount2, c"/usr/bin".as_ptr(), 0),
                Self::FsOpen => libc::syscall(libc::SYS_fsopen, c"nowhere".as_ptr(), 0),
                Self::OpenTree => {
                    let root = c"/".as_ptr();
                    libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, root, OPEN_TREE_CLONE)
                }
                Self::PivotRoot => {
                    let folder = c"/usr/bin".as_ptr();
                    libc::syscall(libc::SYS_pivot_root, folder, folder)
                }
                Self::MountNamespace => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS),
                Self::EnterNamespace => {
                    let itself = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
                    libc::syscall(libc::SYS_setns, itself, libc::CLONE_NEWUTS)
                }
                Self::HostName => libc::syscall(libc::SYS_sethostname, nowhere, 1000),
                Self::SwapOn => libc::syscall(libc::SYS_swapon, nowhere, 0),
                Self::Fanotify => {
                    libc::syscall(libc::SYS_fanotify_init, libc::FAN_CLASS_CONTENT, libc::O_RDONLY)
                }
                Self::Reboot => libc::syscall(libc::SYS_reboot, 0, 0, 0, 0),
                Self::Kexec => libc::syscall(libc::SYS_kexec_load, 0, 0, null, 0x8000),
                Self::SetTimeZone => {
                    libc::syscall(libc::SYS_settimeofday, null, &raw const TIME_ZONE)
                }
                Self::IoPort => libc::syscall(libc::SYS_ioperm, 0x80, 1, 1),
                Self::IoLevel => libc::syscall(libc::SYS_iopl, 3),
                Self::Perf => {
                    let event: *const PerfEvent = &PERF_EVENT;
                    libc::syscall(libc::SYS_perf_event_open, event, -1, 0, -1, 0)
                }
                Self::KernelLog => libc::syscall(libc::SYS_syslog, SIZE_UNREAD, null, 0),
                Self::OpenByHandle => {
                    let handle: *const Handle = &HANDLE;
                    let (here, how) = (libc::AT_FDCWD, libc::O_RDONLY);
                    libc::syscall(libc::SYS_open_by_handle_at, here, handle, how)
                }
                Self::WakingTimer => {
                    libc::syscall(libc::SYS_timerfd_create, libc::CLOCK_REALTIME_ALARM, 0)
                }
                Self::ChosenPid => chosen_pid(),
                Self::ReadOther => read_other(),
                Self::UserNamespace => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
                Self::CloneUserNamespace => clone_user_namespace(),
            }
        }
    }
}

/// include/uapi/linux/mount.h
const OPEN_TREE_CLONE: libc::c_int = 1;
/// include/linux/syslog.h: `SYSLOG_ACTION_SIZE_UNREAD`.
const SIZE_UNREAD: libc::c_int = 9;
static TIME_ZONE: [i32; 2] = [0; 2];
const NOBODY: libc::uid_t = 65534;

/// include/uapi/linux/fs.h: `struct file_handle` with eight bytes, of the kind that most filesystems have.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 8],
}

static HANDLE: Handle = Handle { bytes: 8, kind: 1, data: [0; 8] };

/// The beginning of `struct perf_event_attr`, as long as its first version.
#[repr(C)]
struct PerfEvent {
    /// `PERF_TYPE_SOFTWARE`
    kind: u32,
    size: u32,
    /// `PERF_COUNT_SW_CPU_CLOCK`
    config: u64,
    rest: [u64; 6],
}

static PERF_EVENT: PerfEvent = PerfEvent { kind: 1, size: 64, config: 0, rest: [0; 6] };

/// The process itself is there.
unsafe fn chosen_pid() -> libc::c_long {
    // SAFETY: integers, of which zero means "none"; the number lives as long as the call. As `fork` in any case.
    unsafe {
        let own = libc::getpid();
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.set_tid = (&raw const own).addr() as u64;
        arguments.set_tid_size = 1;
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    }
}

unsafe fn clone_user_namespace() -> libc::c_long {
    // SAFETY: as above.
    unsafe {
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.flags = libc::CLONE_NEWUSER as u64;
        let child =
            libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>());
        if child == 0 {
            libc::_exit(0);
        }
        child
    }
}

unsafe fn read_other() -> libc::c_long {
    // SAFETY: system calls with arrays of ours. The child says by a byte that it has become somebody else, and waits for
    // the end of the other pipe, which comes with this process's.
    unsafe {
        let (mut done, mut wait) = ([0; 2], [0; 2]);
        if libc::pipe(done.as_mut_ptr()) < 0 || libc::pipe(wait.as_mut_ptr()) < 0 {
            return -1;
        }
        let mut byte = 0_u8;
        let room: *mut libc::c_void = (&raw mut byte).cast();
        let child = libc::fork();
        if child == 0 {
            if libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0 {
                libc::write(done[1], room, 1);
            }
            libc::close(done[1]);
            libc::close(wait[1]);
            libc::read(wait[0], room, 1);
            libc::_exit(0);
        }
        libc::close(done[1]);
        if libc::read(done[0], room, 1) != 1 {
            // Who cannot become somebody else has nobody to read from.
            *libc::__errno_location() = libc::EPERM;
            return -1;
        }
        let local = libc::iovec { iov_base: room, iov_len: 1 };
        let remote = local;
        libc::process_vm_readv(child, &raw const local, 1, &raw const remote, 1, 0) as libc::c_long
    }
}

fn status(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is there for the call to write.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return last();
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { libc::EINTR }
}

fn last() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
