//! May this run still use what it has open?
//!
//! `int file_permission(struct file *file, int mask)`, from 6.1 to 7.3: fs/read_write.c, `rw_verify_area`, which read,
//! write, sendfile, splice, copy_file_range and io_uring's reads and writes go through; fs/readdir.c, `iterate_dir`;
//! fs/open.c, `vfs_fallocate`.
//!
//! Every process of the host passes here with each read and write, so that the program is attached only while a run
//! needs it: one that is over and has tasks left, or one whose tasks go on after its end. What a run has opened was
//! judged then; nothing but its life is asked here, and an answer that lets it go on is not counted.
//! Cannot see: what is mapped; an operation that is under way or waits; calls that move no data of a file (fsync, lseek,
//! fstat, fcntl, flock, poll); vmsplice, tee, and splice from one pipe to another; mq_timedsend, mq_timedreceive and
//! mq_notify; recv and send on sockets, which `socket_recvmsg` and `socket_sendmsg` see.

use agentid_common::{
    decide::lifecycle::may_go_on,
    file::Rights,
    tag::Tag,
    verdict::{Answer, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::File,
    object::{Asked, Object},
    settle::{Allowed, conclude},
    subject,
};

/// include/linux/fs.h
const MAY_WRITE: u64 = 2;

#[lsm(hook = "file_permission")]
pub fn file_permission(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let answer: Answer = may_go_on(&Live, tag);
    if answer.is_ok() {
        return 0;
    }
    refuse(&ctx, tag, &answer)
}

#[inline(always)]
fn refuse(ctx: &LsmContext, tag: &Tag, answer: &Answer) -> i32 {
    let want = if ctx.arg::<u64>(1) & MAY_WRITE != 0 { Rights::WRITE } else { Rights::READ };
    let object = Object::Spelled(Asked { file: File(ctx.arg(0)), want });
    conclude(Hook::FilePermission, Allowed::Counted, &object, tag, *answer)
}
