//! May a run use this capability?

use crate::{
    decide::lifecycle::{alive, may_go_on},
    facts::Facts,
    tag::Tag,
    verdict::{Answer, Reason, Refusal},
};

/// May this run use the capability of this number? Every run above it has to leave it to it as well.
#[inline(always)]
pub fn may_have<F: Facts>(facts: &F, tag: &Tag, capability: u32) -> Answer {
    if alive(facts, tag)?.capabilities.holds(capability) {
        Ok(0)
    } else {
        Err(Refusal::denied(Reason::Capability))
    }
}

/// No run makes a user namespace, where it would have every capability over what it makes there.
#[inline(always)]
pub fn may_make_user_namespace<F: Facts>(facts: &F, tag: &Tag) -> Answer {
    may_go_on(facts, tag)?;
    Err(Refusal::denied(Reason::UserNamespace))
}
