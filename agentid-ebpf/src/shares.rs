//! What does this task share with others?
//!
//! `iter/task` (kernel/bpf/task_iter.c): the daemon opens it for the one task that asks to become a run, and reads one line; and for
//! all tasks where it matters who has the same, as with processes that run already.
//! A task that is made with `CLONE_VM`, `CLONE_FILES` or `CLONE_FS` and without `CLONE_THREAD` is a process of its own, of
//! which no file of /proc says that another one reaches into its memory, its descriptors or its working folder.
//!
//! Cannot see: what is no task. Whoever reads a process's files of /proc holds its memory for the moment.

use core::ffi::c_void;

use agentid_common::record::ShareLine;
use aya_ebpf::helpers::generated::bpf_seq_write;

use crate::{kfield, tasks::TaskContext};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn list_shares(context: *mut TaskContext) -> i32 {
    // SAFETY: the verifier checks the context's layout and the types of its pointers.
    let (meta, task) = unsafe { ((*context).meta, (*context).task) };
    if task.is_null() {
        return 0;
    }
    let line = ShareLine {
        memory_at: kfield::memory_at(task),
        descriptors_at: kfield::descriptors_at(task),
        folder_at: kfield::folder_at(task),
        tgid: kfield::tgid(task),
        tid: kfield::tid(task),
        memory: kfield::users_of_memory(task),
        descriptors: kfield::users_of_descriptors(task),
        folder: kfield::users_of_folder(task),
        ring: kfield::has_ring(task).into(),
    };
    let line: *const ShareLine = &line;
    // SAFETY: the helper copies the line; the context is the kernel's.
    unsafe {
        bpf_seq_write((*meta).seq, line.cast::<c_void>().cast_mut(), size_of::<ShareLine>() as u32)
    };
    0
}
