//! Is that the last task of the run?
//!
//! `sched_process_exit(struct task_struct *p)`, from 6.1 to 7.3 (with `bool group_dead` there): kernel/exit.c,
//! `do_exit`, once for each task that ran.
//! `void task_free(struct task_struct *task)`, from 6.1 to 7.3: kernel/fork.c, `__put_task_struct`. It counts what the
//! tracepoint did not: a task whose creation failed later, and one whose tracepoint was skipped because the program
//! was running on that CPU already.

use agentid_common::tag::COUNTED;
use aya_ebpf::{
    bindings::task_struct,
    macros::{btf_tracepoint, lsm},
    programs::{BtfTracePointContext, LsmContext},
};

use crate::{
    count,
    emit::{self, Outcome},
    maps::INSTANCES,
    subject::{self, Subject},
};

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    leave(ctx.arg(0));
    0
}

#[lsm(hook = "task_free")]
pub fn task_free(ctx: LsmContext) -> i32 {
    leave(ctx.arg(0));
    0
}

/// Takes a task out of its run's count, once.
#[inline(always)]
fn leave(task: *const task_struct) {
    let Subject::Agent(tag) = subject::of(task) else {
        return;
    };
    // SAFETY: values of task storage and of arrays; the two programs never look at one task at the same time,
    // because a task is freed after it has exited.
    unsafe {
        if (*tag).mark != COUNTED {
            return;
        }
        (*tag).mark = 0;
        let Some(instance) = INSTANCES.get((*tag).slot) else {
            return;
        };
        let Some(activity) = count::of((*tag).slot) else {
            return;
        };
        if instance.generation != (*tag).generation {
            return;
        }
        // Adding the largest number is subtracting one.
        let before = count::add(&raw mut (*activity).live, u64::MAX);
        if before == 1 {
            emit::empty(&*tag, &Outcome::default());
        }
    }
}
