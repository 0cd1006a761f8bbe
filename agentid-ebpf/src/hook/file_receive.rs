//! May this run have this file from another process?
//!
//! `int file_receive(struct file *file)`, from 6.1 to 7.3: fs/file.c, `receive_fd` and `receive_fd_replace`, for what
//! comes in a message of a unix socket (net/core/scm.c), by pidfd_getfd(2), and from a supervisor of seccomp.
//!
//! The file is judged as if the run opened it now in the way in which it is open. What is open as a path alone (`O_PATH`)
//! is free, as it is to open it so.
//! A descriptor that is no file's is taken where it lets nobody reach anything (`agentid_common::anonymous`): through others,
//! such as a ring of io_uring, a helper in no run would do what the run may not.
//! Cannot see: files that are inherited, and those that io_uring passes from ring to ring. What a socket is connected
//! to is not asked.

use agentid_common::{
    anonymous,
    decide::lifecycle::may_go_on,
    tag::Tag,
    verdict::{Answer, Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::may_have;
use crate::{
    facts::Live,
    kfield::File,
    object::{Asked, Object, rights},
    settle::{Allowed, hold},
};

#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    let file = File(ctx.arg(0));
    let want = rights::held(file);
    let object = Object::File(Asked { file, want });
    hold(Hook::FileReceive, Allowed::Counted, object, |tag| {
        if want.is_empty() {
            return may_go_on(&Live, tag);
        }
        if file.superblock().magic() == anonymous::FILESYSTEM {
            return may_take(tag, file);
        }
        may_have(tag, file, want)
    })
}

/// May this run have this descriptor, which is no file's? Only where it lets nobody reach anything.
#[inline(always)]
fn may_take(tag: &Tag, file: File) -> Answer {
    let rule = may_go_on(&Live, tag)?;
    match file.dentry().anonymous_name()? {
        Some(name) if anonymous::is_harmless(name) => Ok(rule),
        Some(_) | None => Err(Refusal::denied(Reason::NoRule)),
    }
}
