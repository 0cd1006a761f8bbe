//! A run goes on under another version of its policy.

use uuid::Uuid;

use super::{Effect, Renewal, State};
use crate::{
    event::event::{Renewed, What},
    image::SlotRules,
    instance::{
        Demand,
        run::{OnEnd, RunMode},
    },
    supervisor::{refusal::Refusal, rules::Bond},
};

impl State {
    /// The file first: a daemon that dies in between finds there what is in force. What the run is held by at its end
    /// may be another program, which is there before the run counts on it.
    pub(super) fn renew(&mut self, id: Uuid, renewal: Renewal) -> Result<Vec<Effect>, Refusal> {
        let mut run = self.unended(id)?;
        let Renewal { policy, bond, mode, on_end, bounds } = renewal;
        let slot = run.place.slot;
        let rules = slot_rules(bond, mode, on_end);
        let what = What::Renewed(Renewed {
            from: run.policy.to_string(),
            mistake: None,
            mode: Some(mode.name().to_owned()),
            on_end: Some(on_end.name().to_owned()),
        });
        if let Some(enclosure) = &mut run.enclosure {
            enclosure.bounds = bounds;
        }
        (run.policy, run.mode, run.on_end, run.names) = (policy, mode, on_end, bond.names);
        drop(run);
        Ok(vec![
            Effect::Save(id),
            Effect::Attach(Demand::of(&self.registry)),
            Effect::Bind { id, slot, rules },
            Effect::Publish { id: Some(id), what },
        ])
    }
    /// Nothing else about the run is other than before.
    pub(super) fn rebound(&mut self, id: Uuid, bond: Bond) -> Result<Vec<Effect>, Refusal> {
        let run = self.unended(id)?;
        let (slot, rules) = (run.place.slot, slot_rules(bond, run.mode, run.on_end));
        Ok(vec![Effect::Bind { id, slot, rules }])
    }
}

fn slot_rules(bond: Bond, mode: RunMode, on_end: OnEnd) -> SlotRules {
    SlotRules {
        policy: bond.policy_scope,
        params: bond.params_scope,
        mode: mode.in_slot(),
        ladder: on_end.in_slot(),
        capabilities: bond.capabilities,
        names: bond.names,
    }
}
