//! Who asks? The only file that knows how a task is tagged.

use agentid_common::tag::{KEEPER_SLOT, Tag};
use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_get_current_task_btf};

use crate::{kfield, maps::TAGS};

/// A task, as far as we are concerned.
pub enum Subject {
    /// Not ours: we do not exist for it.
    Untagged,
    /// The daemon.
    Keeper,
    /// A task of a run.
    Agent(*mut Tag),
}

/// The current task.
#[inline(always)]
pub fn current() -> Subject {
    let task = current_task();
    // Most tasks have no tag, and this is what they pay.
    if kfield::has_no_storage(task) { Subject::Untagged } else { of(task) }
}

/// The run of the current task, if it is held to one.
#[inline(always)]
pub fn run<'task>() -> Option<&'task Tag> {
    match current() {
        Subject::Untagged | Subject::Keeper => None,
        // SAFETY: a value of task storage lives as long as its task.
        Subject::Agent(tag) => Some(unsafe { &*tag }),
    }
}

/// The current task's `task_struct`.
#[inline(always)]
pub fn current_task() -> *const task_struct {
    // SAFETY: takes nothing and cannot fail.
    unsafe { bpf_get_current_task_btf() }
}

/// Whether the kernel acts in the current task's place, on files of its own choice: with lent credentials, and not for
/// io_uring, which lends credentials for what the task chooses.
#[inline(always)]
pub fn acts_for_the_kernel() -> bool {
    has_lent_credentials() && !kfield::uses_io_uring(current_task())
}

/// Whether the current task has other credentials now than its own.
#[inline(always)]
pub fn has_lent_credentials() -> bool {
    kfield::has_lent_credentials(current_task())
}

/// Any task.
#[inline(always)]
pub fn of(task: *const task_struct) -> Subject {
    match TAGS.get(task) {
        None => Subject::Untagged,
        Some(tag) => {
            // SAFETY: a value of task storage lives as long as its task.
            if unsafe { (*tag).slot } == KEEPER_SLOT {
                Subject::Keeper
            } else {
                Subject::Agent(tag)
            }
        }
    }
}
