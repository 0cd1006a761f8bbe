//! May this run give this file another name, or one more?
//!
//! `int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry
//! *new_dentry, unsigned int flags)`, from 6.1 to 7.3: fs/namei.c, `do_renameat2`, once also for an exchange.
//! `int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`, from 6.1 to 7.3:
//! fs/namei.c, `do_linkat`, also for a file without a name and through a descriptor.
//! Cannot see: what a server or another filesystem does behind the name.
//!
//! Each hook has two programs, because the verifier follows one walk through a program in a fraction of a second, and
//! two in minutes: the first asks about the old name and leaves its answer for the second, which asks about the new
//! one. The daemon attaches them so that they run in this order, and the first to deny is the last to run. Without an
//! answer of the first, the second denies.

use agentid_common::{
    decide::{
        file::{Arrival, may_arrive, may_leave},
        lifecycle::may_go_on,
    },
    file::Rights,
    tag::Tag,
    verdict::{Answer, Fault, Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::Dentry,
    object::{
        Named,
        departure::Leaving,
        place::{Place, forgotten},
    },
    settle::{Allowed, hold},
};

/// include/uapi/linux/fs.h
const RENAME_EXCHANGE: u32 = 1 << 1;
const RENAME_WHITEOUT: u32 = 1 << 2;
/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let (old, flags) = (Dentry(ctx.arg(1)), ctx.arg::<u64>(4) as u32);
    let exchange = flags & RENAME_EXCHANGE != 0;
    let want = if exchange { Rights::DELETE.union(Rights::CREATE) } else { Rights::DELETE };
    hold(Hook::PathRename, Allowed::Passed, Named { dentry: old, want }, |tag| {
        if flags & RENAME_WHITEOUT != 0 {
            // It leaves a device node behind.
            may_go_on(&Live, tag)?;
            return Err(Refusal::denied(Reason::DeviceNode));
        }
        may_lose(tag, old, want)
    })
}

#[lsm(hook = "path_rename")]
pub fn path_rename_to(ctx: LsmContext) -> i32 {
    let (old, new, flags) = (Dentry(ctx.arg(1)), Dentry(ctx.arg(3)), ctx.arg::<u64>(4) as u32);
    let exchange = flags & RENAME_EXCHANGE != 0;
    // What lies at the new name goes, or goes to the old one.
    let replaced = !new.inode().is_null();
    let want = if replaced { Rights::CREATE.union(Rights::DELETE) } else { Rights::CREATE };
    hold(Hook::PathRename, Allowed::Counted, Named { dentry: new, want }, |tag| {
        let folder = is_folder(old)? || exchange && is_folder(new)?;
        may_become(tag, old, new, How { want, folder, exchange })
    })
}

#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let old = Dentry(ctx.arg(0));
    // The old name stays, and nothing is done with it.
    let want = Rights::NONE;
    hold(Hook::PathLink, Allowed::Passed, Named { dentry: old, want }, |tag| {
        may_lose(tag, old, want)
    })
}

#[lsm(hook = "path_link")]
pub fn path_link_to(ctx: LsmContext) -> i32 {
    let (old, new) = (Dentry(ctx.arg(0)), Dentry(ctx.arg(2)));
    let want = Rights::CREATE;
    hold(Hook::PathLink, Allowed::Counted, Named { dentry: new, want }, |tag| {
        may_become(tag, old, new, How { want, folder: false, exchange: false })
    })
}

/// May what has this name lose it, or share it with another one?
#[inline(always)]
fn may_lose(tag: &Tag, old: Dentry, want: Rights) -> Answer {
    let want = Rights(forgotten(want.0)?);
    may_leave(&Live, tag, &Place::of_name(old), want, &Leaving::begin(old)?)
}

struct How {
    want: Rights,
    folder: bool,
    exchange: bool,
}

/// May what has the old name have the new one?
#[inline(always)]
fn may_become(tag: &Tag, old: Dentry, new: Dentry, how: How) -> Answer {
    let flags = forgotten(how.want.0 << 2 | u32::from(how.folder) << 1 | u32::from(how.exchange))?;
    let arrival = Arrival {
        place: Place::of_name(new),
        want: Rights(flags >> 2),
        departure: Leaving::end(old)?,
        folder: flags & 2 != 0,
        exchange: flags & 1 != 0,
    };
    may_arrive(&Live, tag, arrival)
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
