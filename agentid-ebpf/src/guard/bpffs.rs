//! Does anyone but the daemon take the pins away?
//!
//! `int sb_umount(struct vfsmount *mnt, int flags)`: fs/namespace.c, `do_umount`.
//! `int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)`:
//! fs/namespace.c, `path_mount`.
//! `int move_mount(const struct path *from_path, const struct path *to_path)`: fs/namespace.c.
//! `int sb_pivotroot(const struct path *old_path, const struct path *new_path)`: fs/namespace.c, `pivot_root`.
//! `int sb_remount(struct super_block *sb, void *mnt_opts)`: fs/namespace.c, `do_remount`; fs/fsopen.c, `vfs_fsconfig_locked`.
//! `int inode_unlink(struct inode *dir, struct dentry *dentry)`, `int inode_rmdir(struct inode *dir, struct dentry
//! *dentry)`, `int inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry
//! *new_dentry)`: fs/namei.c, `vfs_*`.
//! All alike from 6.1 to 7.3. Cannot see: a mount over a folder above the bpffs, which hides the pins and keeps them; mount_setattr(2).
//!
//! Only a bpffs that carries the daemon's marks is guarded; other programs' pins are theirs.
//!
//! `inode_unlink` is also where message queues go, which no run takes away without a rule (`hook/queue.rs`).
//!
//! A run changes no mount at all: unmounting a folder lazily takes everything mounted below it along, the bpffs too,
//! and neither that nor what moves a mount away names the bpffs to a hook.

use agentid_common::{
    file::Rights,
    map::{GUARD_FOLDER, GUARD_ROOT},
    verdict::Hook,
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    hook::queue::hold_queue,
    kfield::{Dentry, Inode, Mount, Path, SuperBlock},
    maps::{GUARDS, of_inode},
    settle::{guard, guard_from_runs},
};

/// include/uapi/linux/magic.h
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

#[lsm(hook = "sb_umount")]
pub fn sb_umount(ctx: LsmContext) -> i32 {
    guard_from_runs(Hook::SbUmount, holds_pins(Mount(ctx.arg(0)).superblock()))
}

#[lsm(hook = "sb_mount")]
pub fn sb_mount(ctx: LsmContext) -> i32 {
    guard_from_runs(Hook::SbMount, holds_pins(Path(ctx.arg(1)).dentry().superblock()))
}

#[lsm(hook = "move_mount")]
pub fn move_mount(ctx: LsmContext) -> i32 {
    let from = holds_pins(Path(ctx.arg(0)).dentry().superblock());
    let onto = holds_pins(Path(ctx.arg(1)).dentry().superblock());
    guard_from_runs(Hook::MoveMount, from || onto)
}

#[lsm(hook = "sb_pivotroot")]
pub fn sb_pivotroot(_: LsmContext) -> i32 {
    guard_from_runs(Hook::SbPivotroot, false)
}

#[lsm(hook = "sb_remount")]
pub fn sb_remount(_: LsmContext) -> i32 {
    guard_from_runs(Hook::SbRemount, false)
}

#[lsm(hook = "inode_unlink")]
pub fn inode_unlink(ctx: LsmContext) -> i32 {
    let (folder, entry) = (Inode(ctx.arg(0)), Dentry(ctx.arg(1)));
    match guard(Hook::InodeUnlink, is_ours(folder, entry)) {
        0 => hold_queue(Hook::InodeUnlink, folder, entry, Rights::DELETE),
        refused => refused,
    }
}

#[lsm(hook = "inode_rmdir")]
pub fn inode_rmdir(ctx: LsmContext) -> i32 {
    guard(Hook::InodeRmdir, is_ours(Inode(ctx.arg(0)), Dentry(ctx.arg(1))))
}

#[lsm(hook = "inode_rename")]
pub fn inode_rename(ctx: LsmContext) -> i32 {
    let old = is_ours(Inode(ctx.arg(0)), Dentry(ctx.arg(1)));
    let new = marked(Inode(ctx.arg(2)), GUARD_FOLDER);
    guard(Hook::InodeRename, old || new)
}

/// Whether a filesystem is the one with our pins.
#[inline(always)]
fn holds_pins(superblock: SuperBlock) -> bool {
    superblock.magic() == BPF_FS_MAGIC && has_mark(superblock.root().inode(), GUARD_ROOT)
}

/// Whether an entry of a folder is a pin of ours, or a folder of ours.
#[inline(always)]
fn is_ours(folder: Inode, entry: Dentry) -> bool {
    if folder.superblock().magic() != BPF_FS_MAGIC {
        return false;
    }
    let inode = entry.inode();
    has_mark(folder, GUARD_FOLDER) || (!inode.is_null() && has_mark(inode, GUARD_FOLDER))
}

#[inline(always)]
fn marked(folder: Inode, mark: u32) -> bool {
    folder.superblock().magic() == BPF_FS_MAGIC && has_mark(folder, mark)
}

#[inline(always)]
fn has_mark(inode: Inode, mark: u32) -> bool {
    match of_inode(&GUARDS, inode.0.cast()) {
        // SAFETY: a value of inode storage lives as long as its inode.
        Some(found) => unsafe { *found & mark != 0 },
        None => false,
    }
}
