//! A place, and one right on it: what most hooks on files ask.

use agentid_common::{
    decide::{file::may_access, lifecycle::may_go_on},
    file::Rights,
    tag::Tag,
    verdict::{Answer, Hook},
};

use crate::{
    facts::Live,
    kfield::Dentry,
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
