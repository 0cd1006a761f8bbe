//! May this run use this ioctl on this file?
//!
//! `int file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)`, from 6.1 to 7.3: fs/ioctl.c, `ioctl`.
//! `int file_ioctl_compat(struct file *file, unsigned int cmd, unsigned long arg)`, from 6.1 to 7.3 (in 6.1 since
//! 6.1.75): fs/ioctl.c, `compat_ioctl`, for calls of the 32-bit interface.
//!
//! The list is `agentid_common::ioctl`. A denied command fails with `EACCES`, as Landlock's do: programs that meet one
//! find that the file is not theirs to use so, and not that they lack a privilege.
//! Cannot see: what the command is given, and commands that io_uring hands to a driver.

use agentid_common::{
    decide::lifecycle::may_go_on,
    device::MINORBITS,
    file::Rights,
    ioctl::{Kinds, Need, has_signals_sent, is_terminal, need},
    tag::Tag,
    verdict::{Answer, Fault, Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::may_use;
use crate::{
    facts::Live,
    kfield::{File, argument_as_number},
    object::{
        Asked, Object, owner,
        place::{Place, forgotten},
    },
    settle::{Allowed, hold},
};

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const S_IFREG: u16 = 0o100_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFIFO: u16 = 0o010_000;

#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    let file = File(ctx.arg(0));
    let object = Object::File(Asked { file, want: Rights::NONE });
    hold(Hook::FileIoctl, Allowed::Counted, object, |tag| may_ask(&ctx, tag, file))
}

#[lsm(hook = "file_ioctl_compat")]
pub fn file_ioctl_compat(ctx: LsmContext) -> i32 {
    let file = File(ctx.arg(0));
    let object = Object::Spelled(Asked { file, want: Rights::NONE });
    hold(Hook::FileIoctlCompat, Allowed::Counted, object, |tag| may_ask(&ctx, tag, file))
}

#[inline(always)]
fn may_ask(ctx: &LsmContext, tag: &Tag, file: File) -> Answer {
    let command: u64 = ctx.arg(1);
    let need = forgotten(need(kind(file)?, command as u32) as u32)?;
    if need == Need::Write as u32 {
        return may_use(tag, &Place::of_file(file), Rights::WRITE);
    }
    may_go_on(&Live, tag)?;
    if has_signals_sent(command as u32) && !owner::is_own_file(file, argument_as_number(ctx, 0))? {
        return Err(Refusal::denied(Reason::OutsideRun));
    }
    if need == Need::Nothing as u32 { Ok(0) } else { Err(Refusal::denied(Reason::Ioctl)) }
}

/// What the file is. Event counters and their like have no kind before 6.16, and are regular files since.
#[inline(always)]
fn kind(file: File) -> Result<Kinds, Fault> {
    let inode = file.inode();
    let mode = inode.mode();
    Ok(match mode & S_IFMT {
        S_IFSOCK => Kinds::SOCKET,
        S_IFIFO => Kinds::PIPE,
        S_IFCHR if is_terminal(inode.device() >> MINORBITS) => Kinds::TERMINAL,
        S_IFCHR | S_IFBLK => Kinds::DEVICE,
        0 if mode == 0 => return Err(Fault::WalkRead),
        0 | S_IFREG | S_IFDIR if Place::of_file(file).is_internal() => Kinds::NAMELESS,
        S_IFREG | S_IFDIR => Kinds::FILE,
        _ => return Err(Fault::WalkRead),
    })
}
