//! Whether anything is launched for an owner.

use super::{Actor, Effect, Now, State};
use crate::{
    event::event::{OwnerChange, What},
    instance::OwnerDenial,
    supervisor::refusal::Refusal,
};

impl State {
    /// Live runs go on: ending them is another request.
    pub(super) fn owner(
        &mut self,
        owner: String,
        denied: bool,
        by: Actor,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        let Actor { uid, reason } = by;
        if denied {
            let denial = OwnerDenial { at_ms: now.wall_ms, by_uid: uid, reason: reason.clone() };
            self.denied.insert(owner.clone(), denial);
        } else if self.denied.remove(&owner).is_none() {
            return Err(Refusal::OwnerAllowed(owner));
        }
        let change = OwnerChange { owner, denied, by_uid: uid, reason };
        Ok(vec![Effect::SaveOwners, Effect::Publish { id: None, what: What::Owner(change) }])
    }

    /// Refuses a launch for an owner who is denied.
    pub(super) fn owner_allowed(&self, owner: &str) -> Result<(), Refusal> {
        match self.denied.get(owner) {
            Some(denial) => {
                Err(Refusal::OwnerDenied { owner: owner.to_owned(), reason: denial.reason.clone() })
            }
            None => Ok(()),
        }
    }
}
