//! May this run start a task? The new one carries the tag before it can run, or is not created.
//!
//! `int task_alloc(struct task_struct *task, unsigned long clone_flags)`, from 6.1 to 7.3 (`u64` there).
//! Called by kernel/fork.c: `copy_process`, for processes, threads and io_uring workers alike.
//! Cannot see: tasks that kernel threads start for somebody.

use agentid_common::{
    decide::lifecycle::may_go_on,
    tag::{COUNTED, Tag},
    verdict::{Answer, Fault, Hook, Reason, Refusal},
};
use aya_ebpf::{bindings::task_struct, macros::lsm, programs::LsmContext};

use crate::{
    count,
    facts::Live,
    maps::TAGS,
    object::Object,
    settle::{Allowed, conclude},
    subject::{self, Subject},
};

/// include/uapi/linux/sched.h
const CLONE_THREAD: u64 = 0x0001_0000;
/// The same: clone3(2) alone has room for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_PARENT: u64 = 0x8000;

#[lsm(hook = "task_alloc")]
pub fn task_alloc(ctx: LsmContext) -> i32 {
    let child: *const task_struct = ctx.arg(0);
    match subject::current() {
        Subject::Untagged => 0,
        Subject::Keeper => {
            // The daemon's threads are the daemon; its children are not.
            if ctx.arg::<u64>(1) & CLONE_THREAD != 0 {
                keep(child);
            }
            0
        }
        Subject::Agent(tag) => {
            // SAFETY: a value of task storage lives as long as its task.
            let tag = unsafe { &*tag };
            let answer = may_go_on(&Live, tag)
                .and_then(|_| stays(ctx.arg(1)))
                .and_then(|_| inherit(child, tag));
            conclude(Hook::TaskAlloc, Allowed::Counted, &Object::None, tag, answer)
        }
    }
}

/// A run stays in the cgroup that it was put into: no file of another one has to be opened to start a task there, so that no
/// rule is asked. And it gives no children to whoever has started it, who would have to wait for them.
#[inline(always)]
fn stays(clone_flags: u64) -> Answer {
    if clone_flags & CLONE_INTO_CGROUP != 0 {
        Err(Refusal::denied(Reason::Cgroup))
    } else if clone_flags & (CLONE_PARENT | CLONE_THREAD) == CLONE_PARENT {
        Err(Refusal::denied(Reason::OutsideRun))
    } else {
        Ok(0)
    }
}

/// Gives the tag to a task that cannot run yet, and counts it.
#[inline(always)]
fn inherit(child: *const task_struct, tag: &Tag) -> Answer {
    let own = TAGS.get_or_create(child).ok_or(Fault::TagStorage)?;
    let activity = count::of(tag.slot).ok_or(Fault::InstanceLookup)?;
    // SAFETY: both are values of maps, and only programs on this hook have seen `own`.
    unsafe {
        // While a daemon takes over from another, both have a program here: the task is counted by the first.
        if (*own).mark == COUNTED && (*own).generation == tag.generation {
            return Ok(0);
        }
        *own = Tag {
            generation: tag.generation,
            slot: tag.slot,
            mark: COUNTED,
            invocation: tag.invocation,
        };
        count::add(&raw mut (*activity).live, 1);
        count::add(&raw mut (*activity).started, 1);
    }
    Ok(0)
}

#[inline(always)]
fn keep(child: *const task_struct) {
    if let Some(own) = TAGS.get_or_create(child) {
        // SAFETY: as above.
        unsafe { (*own).slot = agentid_common::tag::KEEPER_SLOT };
    }
}
