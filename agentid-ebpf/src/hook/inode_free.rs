//! Is that the end of a folder that something may be remembered of?
//!
//! `void inode_free_security(struct inode *inode)`, from 6.1 to 7.3: security/security.c, called by fs/inode.c,
//! `__destroy_inode`, before the memory of any inode can be that of another one.
//! It decides nothing, and looks at nobody's tag: whoever the kernel frees memory for.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    kfield::{Inode, argument_as_number},
    object::known,
};

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

#[lsm(hook = "inode_free_security")]
pub fn inode_free_security(ctx: LsmContext) -> i32 {
    let inode = Inode(ctx.arg(0));
    if inode.mode() & S_IFMT == S_IFDIR {
        known::forget(argument_as_number(&ctx, 0));
    }
    0
}
