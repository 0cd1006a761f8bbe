//! May this run give this file another name, or one more?
//!
//! `int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry
//! *new_dentry, unsigned int flags)`, from 6.1 to 7.3: fs/namei.c, `do_renameat2`, once also for an exchange.
//! `int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`, from 6.1 to 7.3:
//! fs/namei.c, `do_linkat`, also for a file without a name and through a descriptor.
//! Cannot see: what a server or another filesystem does behind the name.

use agentid_common::{
    decide::file::{Move, at_new_name, at_old_name, may_access_from_loop, may_move},
    file::Rights,
    tag::Tag,
    verdict::{Answer, Fault, Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::Dentry,
    object::{
        Named, Object,
        place::{Afresh, Place, forgotten},
    },
    settle::{Allowed, conclude, hold},
    subject,
};

/// include/uapi/linux/fs.h
const RENAME_EXCHANGE: u32 = 1 << 1;
const RENAME_WHITEOUT: u32 = 1 << 2;
/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else {
        return 0;
    };
    let (old, new, flags) = (Dentry(ctx.arg(1)), Dentry(ctx.arg(3)), ctx.arg::<u64>(4) as u32);
    let exchange = flags & RENAME_EXCHANGE != 0;
    let take = at_old_name(exchange);
    let taken = may_take(tag, old, take, flags);
    if taken.is_err() {
        return conclude_name(tag, old, take, &taken);
    }
    let want = at_new_name(!new.inode().is_null());
    let answer = may_become(tag, old, new, want, exchange);
    conclude_name(tag, new, want, &answer)
}

/// The end of a decision about one of the names, with a stack of its own for what a record needs of it.
#[inline(never)]
fn conclude_name(tag: &Tag, dentry: Dentry, want: Rights, answer: &Answer) -> i32 {
    let object = Object::Name(Named { dentry, want });
    conclude(Hook::PathRename, Allowed::Counted, &object, tag, *answer)
}

/// May what has the old name have the new one?
#[inline(always)]
fn may_become(tag: &Tag, old: Dentry, new: Dentry, want: Rights, exchange: bool) -> Answer {
    let folder = is_folder(old)? || exchange && is_folder(new)?;
    let flags = forgotten(want.0 << 2 | u32::from(folder) << 1 | u32::from(exchange))?;
    let (from, to) = (Afresh(Place::of_name(old)), Afresh(Place::of_name(new)));
    let moved = Move {
        from: &from,
        to: &to,
        want: Rights(flags >> 2),
        folder: flags & 2 != 0,
        exchange: flags & 1 != 0,
    };
    may_move(&Live, tag, &moved)
}

#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let (old, new) = (Dentry(ctx.arg(0)), Dentry(ctx.arg(2)));
    let want = Rights::CREATE;
    hold(Hook::PathLink, Allowed::Counted, Named { dentry: new, want }, |tag| {
        let (from, to) = (Afresh(Place::of_name(old)), Afresh(Place::of_name(new)));
        may_move(&Live, tag, &Move { from: &from, to: &to, want, folder: false, exchange: false })
    })
}

/// May what has this name lose it? Not inlined, so that its stack is free again for the other name.
#[inline(never)]
fn may_take(tag: &Tag, old: Dentry, want: Rights, flags: u32) -> Answer {
    let answer =
        may_access_from_loop(&Live, tag, &Afresh(Place::of_name(old)), Rights(forgotten(want.0)?));
    if answer.is_ok() && flags & RENAME_WHITEOUT != 0 {
        // It leaves a device node behind.
        return Err(Refusal::denied(Reason::DeviceNode));
    }
    answer
}

/// A file of no kind is a load that has failed, and must not pass for one that is no folder.
#[inline(always)]
fn is_folder(dentry: Dentry) -> Result<bool, Fault> {
    let inode = dentry.inode();
    if inode.is_null() {
        return Err(Fault::WalkRead);
    }
    match inode.mode() & S_IFMT {
        0 => Err(Fault::WalkRead),
        kind => Ok(kind == S_IFDIR),
    }
}
