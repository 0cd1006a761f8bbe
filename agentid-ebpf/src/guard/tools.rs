//! Does a run reach out of itself: for agentid with bpf(2), or for a process that is not its own with a signal, a debugger, or
//! by what the kernel is told of that process?
//!
//! `int bpf(int cmd, union bpf_attr *attr, unsigned int size)`, 7.3 adds `bool kernel`: kernel/bpf/syscall.c.
//! `int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)`, from 6.1 to
//! 7.3: kernel/signal.c, `check_kill_permission`. Cannot see: signals from a terminal, `cgroup.kill`, and
//! those that a file has sent, which `file_fcntl` prevents.
//! `int ptrace_access_check(struct task_struct *child, unsigned int mode)`, from 6.1 to 7.3: kernel/ptrace.c,
//! `__ptrace_may_access`, which also guards `/proc/PID/mem` and its like.
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
    object::Object,
    settle::{Allowed, conclude},
    subject::{self, Subject},
};

#[lsm(hook = "bpf")]
pub fn bpf(_: LsmContext) -> i32 {
    match subject::current() {
        Subject::Untagged | Subject::Keeper => 0,
        Subject::Agent(tag) => refuse(Hook::Bpf, tag, Reason::Guarded),
    }
}

#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    reach(Hook::TaskKill, ctx.arg(0))
}

#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(ctx: LsmContext) -> i32 {
    reach(Hook::PtraceAccessCheck, ctx.arg(0))
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
    let Subject::Agent(tag) = subject::current() else {
        return 0;
    };
    match subject::of(target) {
        Subject::Untagged => refuse(hook, tag, Reason::OutsideRun),
        Subject::Keeper => refuse(hook, tag, Reason::Guarded),
        // SAFETY: values of task storage live as long as their tasks.
        Subject::Agent(other) => unsafe {
            let same = (*other).generation == (*tag).generation && (*other).slot == (*tag).slot;
            if same { 0 } else { refuse(hook, tag, Reason::OutsideRun) }
        },
    }
}

#[inline(always)]
fn refuse(hook: Hook, tag: *const Tag, reason: Reason) -> i32 {
    // SAFETY: a value of task storage lives as long as its task.
    let tag = unsafe { &*tag };
    conclude(hook, Allowed::Counted, &Object::None, tag, Err(Refusal::denied(reason)))
}
