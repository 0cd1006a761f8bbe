//! Which tasks are to become those of a run?
//!
//! `iter/task` (kernel/bpf/task_iter.c): the daemon has gathered them in a cgroup, in which they stand still, and says in
//! [`ADOPTION`] whose they become. A line is written for each that is the run's afterwards, so that the daemon knows whether
//! any was missed: on 6.1 a task's storage can be busy for the moment.

use agentid_common::{
    map::Adoption,
    tag::{COUNTED, Tag},
};
use aya_ebpf::bindings::task_struct;

use crate::{
    count, kfield,
    maps::{ADOPTION, TAGS},
    tasks::{self, TaskContext},
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn adopt_tasks(context: *mut TaskContext) -> i32 {
    // SAFETY: the verifier checks the context's layout and the types of its pointers.
    let (meta, task) = unsafe { ((*context).meta, (*context).task) };
    if task.is_null() {
        return 0;
    }
    let Some(adoption) = ADOPTION.get(0) else { return 0 };
    if adoption.group == 0 || kfield::cgroup(task) != adoption.group || kfield::is_exiting(task) {
        return 0;
    }
    let now = if adoption.undo == 0 { take(task, adoption) } else { let_go(task, adoption) };
    if let Some(tag) = now {
        // SAFETY: a value of task storage lives as long as its task; the context is the kernel's.
        unsafe { tasks::write((*meta).seq, task, &*tag) };
    }
    0
}

/// Tags the task, unless it has a tag. Gives the tag that it has now.
#[inline(always)]
fn take(task: *const task_struct, adoption: &Adoption) -> Option<*mut Tag> {
    if let Some(tag) = TAGS.get(task) {
        return Some(tag);
    }
    let activity = count::of(adoption.tag.slot)?;
    let own = TAGS.get_or_create(task)?;
    // SAFETY: both are values of maps. The task stands still, and nobody but the daemon tags it.
    unsafe {
        *own = Tag { mark: COUNTED, ..adoption.tag };
        count::add(&raw mut (*activity).live, 1);
        count::add(&raw mut (*activity).started, 1);
    }
    Some(own)
}

/// Takes the tag away. Gives the tag that the task still has.
#[inline(always)]
fn let_go(task: *const task_struct, adoption: &Adoption) -> Option<*mut Tag> {
    let tag = TAGS.get(task)?;
    // SAFETY: a value of task storage lives as long as its task.
    if unsafe { (*tag).generation } == adoption.tag.generation {
        TAGS.remove(task);
    }
    TAGS.get(task)
}
