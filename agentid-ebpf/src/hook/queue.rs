//! May this run make, or take away, this message queue?
//!
//! `int inode_create(struct inode *dir, struct dentry *dentry, umode_t mode)`, from 6.1 to 7.3: fs/namei.c, `vfs_mkobj`, which
//! mq_open(2) makes a queue with (ipc/mqueue.c). `file_open` is asked afterwards, and would leave behind what it refuses.
//! mq_unlink(2) comes to `inode_unlink`, whose program is that of the guard (`guard/bpffs.rs`).
//! Cannot see: mq_timedsend(2), mq_timedreceive(2) and mq_notify(2), for which the kernel has no hook; what is open was judged
//! when it was opened.
//!
//! A queue is a file of a filesystem of the kernel's own, one for each IPC namespace, which is judged by its type: rules name it
//! below the folder where the host has that mounted. Who goes by such a path comes to `path_mknod` and `path_unlink`, and then
//! here as well. On all other filesystems those are the ones that are asked.

use agentid_common::{
    file::{QUEUES, Rights},
    verdict::Hook,
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::kfield::{Dentry, Inode};

#[lsm(hook = "inode_create")]
pub fn inode_create(ctx: LsmContext) -> i32 {
    hold_queue(Hook::InodeCreate, Inode(ctx.arg(0)), Dentry(ctx.arg(1)), Rights::CREATE)
}

/// Holds the current task to what its run may do with a queue; nothing where it is another file.
#[inline(always)]
pub fn hold_queue(hook: Hook, folder: Inode, entry: Dentry, want: Rights) -> i32 {
    if folder.superblock().magic() == QUEUES { hold_name(hook, entry, want) } else { 0 }
}
