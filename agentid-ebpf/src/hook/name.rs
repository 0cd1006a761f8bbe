//! A name in a folder, and one right on it: what most hooks on paths ask.

use agentid_common::{decide::file::may_access, file::Rights, verdict::Hook};

use crate::{
    facts::Live,
    kfield::Dentry,
    object::{Named, Object, place::Place},
    settle::{Allowed, hold},
};

/// Holds the current task to what its run may do with a name.
#[inline(always)]
pub fn hold_name(hook: Hook, dentry: Dentry, want: Rights) -> i32 {
    hold(hook, Allowed::Counted, &Object::Name(Named { dentry, want }), |tag| {
        may_access(&Live, tag, &Place::of_name(dentry), want)
    })
}
