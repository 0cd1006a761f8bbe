//! A run begins.

use agentid_common::{
    instance::{Instance, MAX_ANCESTRY, NO_SLOT, State as SlotState},
    tag::InvocationId,
};
use uuid::Uuid;

use super::{Effect, Launch, Now, State, Way, forget};
use crate::{
    event::event::{Launched, What},
    instance::{Demand, Phase, Posture, Run},
    supervisor::{refusal::Refusal, view},
};

impl State {
    /// Where something is missing that holds runs, none is launched.
    pub fn enforces(&self) -> Result<(), Refusal> {
        match &self.posture {
            Posture::Enforcing => Ok(()),
            Posture::Degraded(why) | Posture::Off(why) => Err(Refusal::NotEnforcing(why.clone())),
        }
    }

    pub(super) fn launch(&mut self, launch: Launch, now: Now) -> Result<Vec<Effect>, Refusal> {
        let Launch { mut run, bond, way } = launch;
        self.enforces()?;
        self.owner_allowed(&run.owner)?;
        let (parent, parent_generation) = match run.parent {
            Some(parent) => {
                let above = self.parent(parent)?;
                // The kernel asks for both; the record says when the run really ends.
                run.place.deadline = run.place.deadline.min(above.place.deadline);
                run.above = [&[parent], above.above.as_slice()].concat();
                (above.place.slot, above.place.generation)
            }
            None => (NO_SLOT, 0),
        };
        if run.uid != 0 && self.registry.live_of(run.account()) >= self.per_user {
            return Err(Refusal::Crowd { uid: run.uid, limit: self.per_user });
        }
        let slot = self.registry.free_slot().ok_or(Refusal::NoSlot(self.slots - 1))?;
        run.place.slot = slot;
        let instance = Instance {
            generation: run.place.generation,
            deadline: run.place.deadline,
            capabilities: bond.capabilities,
            names: u32::from(bond.names),
            parent_generation,
            parent,
            state: SlotState::ACTIVE,
            mode: run.mode.in_slot(),
            ladder: run.on_end.in_slot(),
            invocation: InvocationId(run.id.into_bytes()),
            ..Instance::default()
        };
        let instance = instance.bound_to(bond.policy_scope, bond.params_scope);
        let id = run.id;
        // One that is delegated is where the run above is; one that comes from elsewhere counts for those above as well.
        let above = run.above.iter().filter_map(|above| self.registry.get(*above));
        let limited_above = way == Way::Launch && { above }.any(|above| above.enclosure.is_some());
        let enclosed = run.enclosure.is_some() || limited_above;
        let launched = launched(&run, now);
        let forgotten = self.registry.insert(run).map_err(|_| Refusal::NoSlot(self.slots - 1))?;
        let mut effects = vec![
            Effect::Save(id),
            Effect::Attach(Demand::of(&self.registry)),
            Effect::Occupy { id, instance },
        ];
        effects.extend(enclosed.then_some(Effect::Enclose(id)));
        effects.extend([
            match way {
                Way::Launch => Effect::Tag(id),
                Way::Delegate => Effect::Retag(id),
                Way::Adopt => Effect::TagGathered(id),
            },
            Effect::Publish { id: Some(id), what: What::Launched(launched) },
        ]);
        effects.extend(forget(forgotten));
        Ok(effects)
    }

    /// A run that another one may stand on.
    fn parent(&self, id: Uuid) -> Result<&Run, Refusal> {
        let run = self.registry.get(id).filter(|run| run.phase.is_live());
        let run = run.ok_or(Refusal::ParentEnded(id))?;
        if run.phase == Phase::Suspended {
            return Err(Refusal::ParentSuspended(id));
        }
        let depth = self.registry.ancestry(id);
        if depth >= MAX_ANCESTRY {
            return Err(Refusal::Deep { parent: id, depth, limit: MAX_ANCESTRY });
        }
        Ok(run)
    }
}

/// All that a list of runs has of this one and its event does not name.
fn launched(run: &Run, now: Now) -> Launched {
    Launched {
        uid: run.uid,
        tgid: run.tgid,
        command: run.command.clone(),
        on_behalf_of: run.on_behalf_of.clone(),
        purpose: run.purpose.clone(),
        labels: run.labels.clone(),
        params: run.params.clone(),
        mode: run.mode.name().to_owned(),
        on_end: run.on_end.name().to_owned(),
        launched_ms: run.launched_ms,
        deadline_ms: view::wall_of(run.place.deadline, now),
        issued_by: run.issued_by.as_ref().map(view::launched_by),
        limits: run.enclosure.as_ref().map(|it| view::launched(&it.bounds)),
    }
}
