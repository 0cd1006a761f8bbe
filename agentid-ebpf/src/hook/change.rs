//! May this run change this file without opening it?
//!
//! `int path_truncate(const struct path *path)`, `int path_chmod(const struct path *path, umode_t mode)`, `int
//! path_chown(const struct path *path, kuid_t uid, kgid_t gid)`, from 6.1 to 7.3. Called by fs/open.c: `vfs_truncate`,
//! `chmod_common`, `chown_common`; before 6.2 also by `do_sys_ftruncate`.
//! Cannot see: times and extended attributes.

use agentid_common::{file::Rights, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::kfield::Path;

#[lsm(hook = "path_truncate")]
pub fn path_truncate(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathTruncate, Path(ctx.arg(0)).dentry(), Rights::WRITE)
}

#[lsm(hook = "path_chmod")]
pub fn path_chmod(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathChmod, Path(ctx.arg(0)).dentry(), Rights::WRITE)
}

#[lsm(hook = "path_chown")]
pub fn path_chown(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathChown, Path(ctx.arg(0)).dentry(), Rights::WRITE)
}
