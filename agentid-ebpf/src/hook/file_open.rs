//! May this run open this file so?
//!
//! `int file_open(struct file *file)`, from 6.1 to 7.3.
//! Called by fs/open.c: `do_dentry_open`.
//! Cannot see: opens with `O_PATH`, and descriptors that others opened.
//!
//! An open for execution is one also where nothing is executed: an interpreter asks so whether it may read a script
//! (`AT_EXECVE_CHECK`, since 6.14), and `bprm_check_security` does not hear of it. So what lies nowhere is refused here already.
//!
//! What a FUSE server passes through is judged where the server keeps it, and where FUSE shows it.
//!
//! For the daemon it notes how the kernel knows a folder that it opens, which is what rules are anchored on.

use agentid_common::{
    file::{FOLDS, Identity},
    verdict::Hook,
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::may_have;
use crate::{
    count,
    kfield::File,
    maps::{FILESYSTEMS, HOST, IDENTITIES, of_inode_or_new},
    object::{Asked, Object, place, rights},
    settle::{Allowed, conclude},
    subject::{self, Subject},
};

/// include/uapi/asm-generic/fcntl.h
const O_DIRECTORY: u32 = 0o200_000;

#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let file = File(ctx.arg(0));
    match subject::current() {
        Subject::Untagged => 0,
        Subject::Keeper => {
            if file.flags() & O_DIRECTORY != 0 {
                identify(file);
            }
            0
        }
        Subject::Agent(tag) => {
            if place::is_in_layer(file) {
                return 0;
            }
            // SAFETY: a value of task storage lives as long as its task.
            let tag = unsafe { &*tag };
            let want = rights::wanted(file);
            let answer = may_have(tag, file, want);
            let object = Object::File(Asked { file, want });
            conclude(Hook::FileOpen, Allowed::Counted, &object, tag, answer)
        }
    }
}

/// Notes a folder's identity where the daemon can read it by descriptor. What cannot be noted is not found there,
/// and the daemon says so. Not inlined, so that it takes nothing of the stack that the walk needs.
#[inline(never)]
fn identify(file: File) {
    let inode = file.inode();
    let superblock = inode.superblock();
    let Some(number) = of_inode_or_new(&FILESYSTEMS, superblock.root().inode().0.cast()) else {
        return;
    };
    let Some(host) = HOST.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: values of maps. The daemon surveys with one thread; another of its threads opens folders of /proc alone, whose
    // filesystem has its number from the first survey.
    unsafe {
        if *number == 0 {
            *number = count::add(&raw mut (*host).filesystems, 1) + 1;
        }
        if let Some(identity) = of_inode_or_new(&IDENTITIES, inode.0.cast()) {
            *identity = Identity {
                filesystem: *number,
                inode: inode.number(),
                magic: superblock.magic(),
                generation: inode.generation(),
                flags: if file.dentry().folds() || superblock.folds() { FOLDS } else { 0 },
            };
        }
    }
}
