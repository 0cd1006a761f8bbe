//! May this run change this file without opening it?
//!
//! `int inode_setattr(struct dentry *dentry, struct iattr *attr)` on 6.1, with a `struct mnt_idmap *idmap` before the
//! dentry since 6.9: fs/attr.c, `notify_change`, for modes, owners, times and lengths, by path and by
//! descriptor; fs/fat/file.c and fs/exfat/file.c, `*_ioctl_set_attributes`.
//! `int inode_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name, const void *value, size_t size,
//! int flags)`, `int inode_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name)`, on 6.1 with a
//! `struct user_namespace *` in the first place: fs/xattr.c, `__vfs_setxattr_locked`, `__vfs_removexattr_locked`.
//! `int inode_set_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name, struct posix_acl *kacl)`,
//! `int inode_remove_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name)`, since 6.2: fs/posix_acl.c,
//! `vfs_set_acl`, `vfs_remove_acl`. Before, an ACL is an extended attribute like others.
//! `int inode_file_setattr(struct dentry *dentry, struct file_kattr *fa)`, since 6.17: fs/file_attr.c, `vfs_fileattr_set`.
//! Cannot see: `FS_IOC_SETFLAGS` and `FS_IOC_FSSETXATTR` before 6.17; what a filesystem changes of its own accord, such
//! as the time of an access.
//!
//! The path hooks for modes, owners and lengths (fs/open.c) see nothing that these do not.
//!
//! A filesystem made of layers, overlayfs, calls all of this a second time for the file in its layer, where no rule
//! grants anything, and for what it copies up at an open that was judged. It then acts with the credentials of whoever
//! mounted it, and a task whose credentials are not its own is let pass. Who else lends credentials in a task's own
//! context (`override_creds` in 6.1, 6.12 and 7.3)? What runs in threads of the kernel's has no tag. Cachefiles changes
//! its own cache. A core dump cuts the file that it was allowed to open for writing. The rest (access(2), upcalls for keys
//! and names, firmware, accounting, backing files, cgroups, `binfmt_misc`, sockets) looks, reads or writes, and changes
//! nothing here. Only io_uring lends credentials for an operation that the task chooses, by a registered personality.
//! Therefore whoever has to do with io_uring is judged in the layer as well, and denied there.

use agentid_common::{file::Rights, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::{
    kfield::{Dentry, changed_by},
    subject,
};

#[lsm(hook = "inode_setattr")]
pub fn inode_setattr(ctx: LsmContext) -> i32 {
    let (dentry, attributes) = changed_by(&ctx);
    // A write takes privileges away, and was judged when the file was opened.
    if attributes.only_drop_privileges() { 0 } else { hold_change(Hook::InodeSetattr, dentry) }
}

#[lsm(hook = "inode_setxattr")]
pub fn inode_setxattr(ctx: LsmContext) -> i32 {
    hold_change(Hook::InodeSetxattr, Dentry(ctx.arg(1)))
}

#[lsm(hook = "inode_removexattr")]
pub fn inode_removexattr(ctx: LsmContext) -> i32 {
    hold_change(Hook::InodeRemovexattr, Dentry(ctx.arg(1)))
}

#[lsm(hook = "inode_set_acl")]
pub fn inode_set_acl(ctx: LsmContext) -> i32 {
    hold_change(Hook::InodeSetAcl, Dentry(ctx.arg(1)))
}

#[lsm(hook = "inode_remove_acl")]
pub fn inode_remove_acl(ctx: LsmContext) -> i32 {
    hold_change(Hook::InodeRemoveAcl, Dentry(ctx.arg(1)))
}

#[lsm(hook = "inode_file_setattr")]
pub fn inode_file_setattr(ctx: LsmContext) -> i32 {
    hold_change(Hook::InodeFileSetattr, Dentry(ctx.arg(0)))
}

/// Holds the current task to `write`, unless the change is a layer's.
#[inline(always)]
fn hold_change(hook: Hook, dentry: Dentry) -> i32 {
    if subject::run().is_some() && subject::acts_for_the_kernel() {
        return 0;
    }
    hold_name(hook, dentry, Rights::WRITE)
}
