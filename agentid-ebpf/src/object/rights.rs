//! Which rights an open file stands for.

use agentid_common::file::Rights;

use crate::kfield::File;

/// Numbers of bits in `f_mode` and `f_flags`: include/linux/fs.h and include/uapi/asm-generic/fcntl.h.
mod bit {
    pub const FMODE_READ: u32 = 0;
    pub const FMODE_WRITE: u32 = 1;
    pub const FMODE_PATH: u32 = 14;
    pub const FMODE_CREATED: u32 = 20;
    pub const O_TRUNC: u32 = 9;
    pub const FMODE_EXEC: u32 = 5;
    pub const O_TMPFILE: u32 = 22;
}

/// The rights that an open of the file uses.
///
/// Without a branch: the verifier would follow each combination of flags through the whole decision, and take four
/// times as long.
#[inline(always)]
pub fn wanted(file: File) -> Rights {
    let (mode, flags) = (file.mode(), file.flags());

    let read = is(mode, bit::FMODE_READ);
    let write = is(mode, bit::FMODE_WRITE);
    // The access mode 3 gives a descriptor for ioctl; like fs/namei.c we ask for both rights then.
    let neither = (read | write) ^ 1;
    let create = is(mode, bit::FMODE_CREATED) | is(flags, bit::O_TMPFILE);
    let open = select(read | neither, Rights::READ)
        | select(write | neither | is(flags, bit::O_TRUNC), Rights::WRITE)
        | select(create, Rights::CREATE);
    // An open for execution reads as well, but that is not what is asked. It never writes; mq_open(2) takes the flag from
    // whoever calls it (ipc/mqueue.c: `do_mq_open`).
    let exec = is(flags, bit::FMODE_EXEC);
    Rights(
        select(exec ^ 1, Rights(open)) | select(exec, Rights::EXEC) | select(write, Rights::WRITE),
    )
}

/// The rights that a file is open with; none for a descriptor that is only a path (`O_PATH`), through which nothing can
/// be read or written.
#[inline(always)]
pub fn held(file: File) -> Rights {
    let mode = file.mode();
    let (read, write) = (is(mode, bit::FMODE_READ), is(mode, bit::FMODE_WRITE));
    // The access mode 3, as above.
    let neither = (read | write | is(mode, bit::FMODE_PATH)) ^ 1;
    Rights(select(read | neither, Rights::READ) | select(write | neither, Rights::WRITE))
}

/// 1 when the bit is set, else 0.
#[inline(always)]
fn is(word: u32, bit: u32) -> u32 {
    word >> bit & 1
}

/// The right when the condition is 1, none when it is 0.
#[inline(always)]
fn select(condition: u32, right: Rights) -> u32 {
    right.0 & condition.wrapping_neg()
}
