//! The path of a name as its filesystem has it, for records: hooks that are given a name may not ask for its path on
//! every kernel (kernel/trace/bpf_trace.c: `bpf_d_path_allowed`).

use agentid_common::{
    facts::{Facts, Flow, Turn},
    file::{MAX_DEPTH, MAX_NAME},
    record::{FileBody, MAX_PATH},
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use super::place::number_of;
use crate::{
    facts::Live,
    kfield::{Dentry, SuperBlock},
    maps::{WORK, Work},
    subject,
};

/// Writes the path into a record. It stays empty when it is too long or cannot be read. The filesystem is given apart,
/// because 7.3 does not trust the dentry of an open file to tell it.
#[inline(never)]
pub fn spell(dentry: Dentry, superblock: SuperBlock, body: &mut FileBody) {
    body.filesystem = number_of(superblock.root());
    body.length = 0;
    let Some(work) = WORK.get_or_create(subject::current_task()) else { return };
    // SAFETY: `work` is this task's own, and its walk is over.
    let work = unsafe { &mut *work };
    work.level = MAX_PATH as u32;
    work.failed = 1;
    if Live.repeat(MAX_DEPTH, &mut Backwards { at: dentry, work }).is_err() || work.failed != 0 {
        return;
    }
    let begin = work.level & (MAX_PATH as u32 - 1);
    let length = MAX_PATH as u32 - begin;
    // SAFETY: the helper reads within `path`, writes within the record, and fails instead of faulting.
    let copied = unsafe {
        let from = work.path.as_ptr().add(begin as usize);
        bpf_probe_read_kernel(body.path.as_mut_ptr().cast(), length, from.cast())
    };
    if copied == 0 && length < MAX_PATH as u32 {
        body.length = length;
    }
}

/// From the name up to the root, writing from the end to the beginning. `level` is where what is written begins,
/// `failed` is 0 when the root was reached.
struct Backwards {
    at: Dentry,
    work: *mut Work,
}

impl Turn for Backwards {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        let parent = self.at.parent();
        if parent == self.at {
            work.failed = 0;
            return Flow::Stop;
        }
        let length = self.at.name_length();
        if length == 0 || length > MAX_NAME as u32 || length + 1 >= work.level {
            return Flow::Stop;
        }
        let begin = work.level.wrapping_sub(length) & (MAX_PATH as u32 - 1);
        // SAFETY: `path` has room for the longest name after the last index.
        let name = unsafe { work.path.as_mut_ptr().add(begin as usize) };
        if !self.at.read_name(name, length & MAX_NAME as u32) {
            return Flow::Stop;
        }
        let slash = begin.wrapping_sub(1) & (MAX_PATH as u32 - 1);
        work.path[slash as usize] = b'/';
        work.level = slash;
        self.at = parent;
        Flow::GoOn
    }
}
