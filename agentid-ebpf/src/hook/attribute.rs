//! May this run read this extended attribute of a file?
//!
//! `int inode_getxattr(struct dentry *dentry, const char *name)`, from 6.1 to 7.3: fs/xattr.c, `vfs_getxattr`, by path and by
//! descriptor.
//! Cannot see: which attributes there are (listxattr(2)); ACLs from 6.2 on, which are read otherwise.
//!
//! What users and root have written there is content like any other. What the kernel keeps there about a file (`security.`,
//! `system.`) tells no more than its mode does, and is looked at whenever somebody lists a folder.
//!
//! Overlayfs reads attributes of its layers, with the credentials of whoever mounted it; see the head of `change.rs`.

use agentid_common::{file::Rights, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::{
    kfield::{Dentry, argument_as_number, read_into},
    subject,
};

#[lsm(hook = "inode_getxattr")]
pub fn inode_getxattr(ctx: LsmContext) -> i32 {
    if subject::run().is_none()
        || subject::acts_for_the_kernel()
        || !is_content(argument_as_number(&ctx, 1))
    {
        return 0;
    }
    hold_name(Hook::InodeGetxattr, Dentry(ctx.arg(0)), Rights::READ)
}

/// Whether the attribute of the name at this address is content. So is one whose name cannot be read.
#[inline(always)]
fn is_content(name: u64) -> bool {
    const SHORT: usize = b"user.".len();
    let mut begin = [0_u8; 8];
    // The kernel's copy of a name has room for the longest one.
    let known = read_into(&mut begin, name);
    !known || begin[..SHORT] == *b"user." || begin == *b"trusted."
}
