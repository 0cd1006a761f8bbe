//! A place, and one right on it: what most hooks on files ask.

use agentid_common::{
    decide::{
        file::{self, may_access},
        lifecycle::may_go_on,
    },
    file::Rights,
    tag::Tag,
    verdict::{Answer, Hook, Reason, Refusal},
};

use crate::{
    facts::Live,
    kfield::{Dentry, File},
    object::{Named, place::Place},
    settle::{Allowed, hold},
};

/// Holds the current task to what its run may do with a name.
#[inline(always)]
pub fn hold_name(hook: Hook, dentry: Dentry, want: Rights) -> i32 {
    hold(hook, Allowed::Counted, Named { dentry, want }, |tag| {
        may_use(tag, &Place::of_name(dentry), want)
    })
}

/// May this run do this there? A pipe, a socket or a memfd has a path that the kernel makes up: nothing for a rule to
/// name, so that it is enough to be a run that goes on.
#[inline(always)]
pub fn may_use(tag: &Tag, place: &Place, want: Rights) -> Answer {
    if place.is_internal() { may_go_on(&Live, tag) } else { may_access(&Live, tag, place, want) }
}

/// The same of a file that is open or about to be, which can be a device node.
#[inline(always)]
pub fn may_have(tag: &Tag, file: File, want: Rights) -> Answer {
    let place = Place::of_file(file);
    if want == Rights::EXEC {
        has_place(tag, &place, file)?;
    }
    if place.is_internal() {
        may_go_on(&Live, tag)
    } else {
        file::may_open(&Live, tag, &place, want)
    }
}

/// May this run execute this file?
#[inline(always)]
pub fn may_execute(tag: &Tag, file: File) -> Answer {
    let place = Place::of_file(file);
    has_place(tag, &place, file)?;
    may_access(&Live, tag, &place, Rights::EXEC)
}

/// Nothing without a place is executed. Memory that was never a file in a folder, and a file without a name, or whose last name
/// was taken away, have none for a rule to name.
#[inline(always)]
fn has_place(tag: &Tag, place: &Place, file: File) -> Result<(), Refusal> {
    if place.is_internal() || file.inode().links() == 0 {
        may_go_on(&Live, tag)?;
        return Err(Refusal::denied(Reason::AnonymousExec));
    }
    Ok(())
}
