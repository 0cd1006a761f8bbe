//! Which tasks carry a tag?
//!
//! `iter/task` (kernel/bpf/task_iter.c): the daemon opens the iterator and reads one line for each tagged task of the
//! host. It is how a run's tree is found without cgroups, pid namespaces or a list that could miss a fork.

use core::ffi::c_void;

use agentid_common::{record::TaskLine, tag::Tag};
use aya_ebpf::{
    bindings::{seq_file, task_struct},
    helpers::generated::bpf_seq_write,
};

use crate::{
    kfield,
    subject::{self, Subject},
};

/// include/linux/bpf.h: `struct bpf_iter_meta`.
#[repr(C)]
pub struct Meta {
    pub seq: *mut seq_file,
    session: u64,
    number: u64,
}

/// kernel/bpf/task_iter.c: `struct bpf_iter__task`.
#[repr(C)]
pub struct TaskContext {
    pub meta: *mut Meta,
    pub task: *const task_struct,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn list_tasks(context: *mut TaskContext) -> i32 {
    // SAFETY: the verifier checks the context's layout and the types of its pointers.
    unsafe {
        let task = (*context).task;
        if task.is_null() {
            return 0;
        }
        // One that is on its way out does nothing any more. Nor may it be waited for: who is to wait for its end may take his
        // time, and where its exit was not counted (hook/exit.rs) only this list says that the run is over.
        if !kfield::is_exiting(task)
            && let Subject::Agent(tag) = subject::of(task)
        {
            write((*(*context).meta).seq, task, &*tag);
        }
    }
    0
}

#[inline(always)]
pub fn write(seq: *mut seq_file, task: *const task_struct, tag: &Tag) {
    let line = TaskLine {
        generation: tag.generation,
        slot: tag.slot,
        tgid: kfield::tgid(task),
        tid: kfield::tid(task),
        reserved: 0,
    };
    let line: *const TaskLine = &line;
    // SAFETY: the helper copies the line. When the buffer is full the kernel calls again with a larger one.
    unsafe { bpf_seq_write(seq, line.cast::<c_void>().cast_mut(), size_of::<TaskLine>() as u32) };
}
