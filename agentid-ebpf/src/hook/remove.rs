//! May this run take this name away?
//!
//! `int path_unlink(const struct path *dir, struct dentry *dentry)`, `int path_rmdir(const struct path *dir, struct
//! dentry *dentry)`, from 6.1 to 7.3. Called by fs/namei.c: `do_unlinkat`, `do_rmdir`.
//! Cannot see: `mq_unlink`, which `inode_unlink` sees (`queue.rs`), and what a filesystem does below itself, such as overlayfs
//! on its layers.

use agentid_common::{file::Rights, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::kfield::Dentry;

#[lsm(hook = "path_unlink")]
pub fn path_unlink(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathUnlink, Dentry(ctx.arg(1)), Rights::DELETE)
}

#[lsm(hook = "path_rmdir")]
pub fn path_rmdir(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathRmdir, Dentry(ctx.arg(1)), Rights::DELETE)
}
