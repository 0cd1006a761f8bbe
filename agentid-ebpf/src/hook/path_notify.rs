//! May this run be told what becomes of this file, or of what is in this folder?
//!
//! `int path_notify(const struct path *path, u64 mask, unsigned int obj_type)`, from 6.1 to 7.3: fs/notify/inotify/inotify_user.c,
//! `inotify_find_inode`; fs/notify/fanotify/fanotify_user.c, `fanotify_find_path`; fs/notify/dnotify/dnotify.c,
//! `fcntl_dirnotify`. Whoever is told which names others open reads the folder, whenever that is.
//! Cannot see: what is watched already when a run is launched or adopted, or comes over a socket.

use agentid_common::{file::Rights, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::hold_name;
use crate::kfield::Path;

#[lsm(hook = "path_notify")]
pub fn path_notify(ctx: LsmContext) -> i32 {
    hold_name(Hook::PathNotify, Path(ctx.arg(0)).dentry(), Rights::READ)
}
