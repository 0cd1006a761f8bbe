//! May this run make something of this name?
//!
//! `int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)`, `int path_mknod(const struct path *dir,
//! struct dentry *dentry, umode_t mode, unsigned int dev)`, `int path_symlink(const struct path *dir, struct dentry
//! *dentry, const char *old_name)`, from 6.1 to 7.3. Called by fs/namei.c: `do_mkdirat`, `do_mknodat`, `may_o_create`,
//! `do_symlinkat`, and by net/unix/af_unix.c: `unix_bind_bsd`.
//! Cannot see: `O_TMPFILE`, which `file_open` sees; `mq_open`, which `inode_create` does (`queue.rs`); where a symbolic link
//! points, which does not matter, because files are judged by where they are.

use agentid_common::{
    decide::{file::may_access, lifecycle::may_go_on},
    file::Rights,
    verdict::{Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::{
    facts::Live,
    kfield::Dentry,
    object::{Named, place::Place},
    settle::{Allowed, hold},
};

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFBLK: u16 = 0o060_000;

#[lsm(hook = "path_mkdir")]
pub fn path_mkdir(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathMkdir, Dentry(ctx.arg(1)), Rights::CREATE)
}

#[lsm(hook = "path_symlink")]
pub fn path_symlink(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathSymlink, Dentry(ctx.arg(1)), Rights::CREATE)
}

#[lsm(hook = "path_mknod")]
pub fn path_mknod(ctx: LsmContext) -> i32 {
    let dentry = Dentry(ctx.arg(1));
    let kind = ctx.arg::<u64>(2) as u16 & S_IFMT;
    let want = Rights::CREATE;
    hold(Hook::PathMknod, Allowed::Counted, Named { dentry, want }, |tag| {
        if kind == S_IFCHR || kind == S_IFBLK {
            may_go_on(&Live, tag)?;
            return Err(Refusal::denied(Reason::DeviceNode));
        }
        may_access(&Live, tag, &Place::of_name(dentry), want)
    })
}
