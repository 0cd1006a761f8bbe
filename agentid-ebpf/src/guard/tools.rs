//! Does a run reach out of itself: for agentid with bpf(2), or for a process that is not its own with a signal, a debugger, or
//! by what the kernel is told of that process?
//!
//! `int bpf(int cmd, union bpf_attr *attr, unsigned int size)`, 7.3 adds `bool kernel`: kernel/bpf/syscall.c.
//! `int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)`, from 6.1 to
//! 7.3: kernel/signal.c, `check_kill_permission`. Cannot see: signals from a terminal, `cgroup.kill`, and
//! those that a file has sent, which `file_fcntl` prevents.
//! `int ptrace_access_check(struct task_struct *child, unsigned int mode)`, from 6.1 to 7.3: kernel/ptrace.c,
//! `__ptrace_may_access`, which also guards `/proc/PID/mem` and its like.
//! `int ptrace_traceme(struct task_struct *parent)`, from 6.1 to 7.3: kernel/ptrace.c, `ptrace_traceme`. Who waits for a
//! process that he traces is told of each stop as if it were an end.
//! `int task_setnice(struct task_struct *p, int nice)`, `int task_setioprio(struct task_struct *p, int ioprio)`,
//! `int task_setscheduler(struct task_struct *p)` and `int task_movememory(struct task_struct *p)`, from 6.1 to 7.3:
//! kernel/sys.c, `set_one_prio`; block/blk-ioc.c, `set_task_ioprio`; kernel/sched/syscalls.c, `sched_setscheduler` and
//! `sched_setaffinity`; mm/migrate.c and mm/mempolicy.c, `move_pages` and `migrate_pages`.
//! `int task_setrlimit(struct task_struct *p, unsigned int resource, struct rlimit *new_rlim)`, from 6.1 to 7.3: kernel/sys.c,
//! `do_prlimit`. A limit of processor time kills.
//!
//! Only tagged tasks are held here: what root does to the daemon outside of any run is root's business.

use agentid_common::{
    tag::Tag,
    verdict::{Hook, Reason, Refusal},
};
use aya_ebpf::{bindings::task_struct, macros::lsm, programs::LsmContext};

use crate::{
    kfield::argument_as_number,
    object::Object,
    settle::{Allowed, conclude, conclude_probe},
    subject::{self, Subject},
};

/// include/linux/ptrace.h
const PTRACE_MODE_NOAUDIT: u32 = 4;
/// Which argument of `task_kill` says with whose credentials; none where they are the current task's.
const SENDER: u64 = 3;

#[lsm(hook = "bpf")]
pub fn bpf(_: LsmContext) -> i32 {
    match subject::current() {
        Subject::Untagged | Subject::Keeper => 0,
        Subject::Agent(tag) => refuse(Hook::Bpf, tag, Reason::Guarded),
    }
}

#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    // With the credentials of whoever sends it: a device does for him what he has asked for, and the current task is any
    // (kernel/signal.c: `kill_pid_usb_asyncio`).
    if argument_as_number(&ctx, SENDER) != 0 {
        return 0;
    }
    reach(Hook::TaskKill, ctx.arg(0))
}

#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(1);
    if mode & PTRACE_MODE_NOAUDIT != 0 {
        // Some of what can be read of any process is left out for who may not look into it: nothing was tried.
        return match grip(ctx.arg(0)) {
            None => 0,
            Some((tag, reason)) => {
                // SAFETY: a value of task storage lives as long as its task.
                let tag = unsafe { &*tag };
                conclude_probe(Hook::PtraceAccessCheck, tag, Err(Refusal::denied(reason)))
            }
        };
    }
    reach(Hook::PtraceAccessCheck, ctx.arg(0))
}

#[lsm(hook = "ptrace_traceme")]
pub fn ptrace_traceme(ctx: LsmContext) -> i32 {
    reach(Hook::PtraceTraceme, ctx.arg(0))
}

#[lsm(hook = "task_setnice")]
pub fn task_setnice(ctx: LsmContext) -> i32 {
    reach(Hook::TaskSetnice, ctx.arg(0))
}

#[lsm(hook = "task_setioprio")]
pub fn task_setioprio(ctx: LsmContext) -> i32 {
    reach(Hook::TaskSetioprio, ctx.arg(0))
}

#[lsm(hook = "task_setscheduler")]
pub fn task_setscheduler(ctx: LsmContext) -> i32 {
    reach(Hook::TaskSetscheduler, ctx.arg(0))
}

#[lsm(hook = "task_movememory")]
pub fn task_movememory(ctx: LsmContext) -> i32 {
    reach(Hook::TaskMovememory, ctx.arg(0))
}

#[lsm(hook = "task_setrlimit")]
pub fn task_setrlimit(ctx: LsmContext) -> i32 {
    reach(Hook::TaskSetrlimit, ctx.arg(0))
}

/// Keeps a run to its own processes. A look at another one would be a look out of the run, and a grip on it a way out.
#[inline(always)]
fn reach(hook: Hook, target: *const task_struct) -> i32 {
    match grip(target) {
        None => 0,
        Some((tag, reason)) => refuse(hook, tag, reason),
    }
}

/// Whose grip on a task is to be refused, and why.
#[inline(always)]
fn grip(target: *const task_struct) -> Option<(*const Tag, Reason)> {
    let Subject::Agent(tag) = subject::current() else {
        return None;
    };
    match subject::of(target) {
        Subject::Untagged => Some((tag, Reason::OutsideRun)),
        Subject::Keeper => Some((tag, Reason::Guarded)),
        // SAFETY: values of task storage live as long as their tasks.
        Subject::Agent(other) => unsafe {
            let same = (*other).generation == (*tag).generation && (*other).slot == (*tag).slot;
            if same { None } else { Some((tag, Reason::OutsideRun)) }
        },
    }
}

#[inline(always)]
fn refuse(hook: Hook, tag: *const Tag, reason: Reason) -> i32 {
    // SAFETY: a value of task storage lives as long as its task.
    let tag = unsafe { &*tag };
    conclude(hook, Allowed::Counted, &Object::None, tag, Err(Refusal::denied(reason)))
}
