//! A run is held for a time, goes on, and gets more time.

use agentid_common::instance::State as SlotState;
use uuid::Uuid;

use super::{Actor, Effect, Now, State};
use crate::{
    event::event::{Held, What},
    instance::{
        Changing, Demand, Phase, Run,
        run::{Change, Changed},
    },
    supervisor::{refusal::Refusal, view},
};

impl State {
    /// The kernel first, as with every denial, unless the tasks are to stand still: then they come to rest before anything is
    /// denied to them, so that nothing has happened to them when they go on.
    pub(super) fn suspend(
        &mut self,
        id: Uuid,
        freeze: bool,
        by: Actor,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        let mut run = self.unended(id)?;
        if run.phase == Phase::Suspended {
            return Err(Refusal::Suspended(id));
        }
        run.phase = Phase::Suspended;
        run.frozen = freeze;
        run.held_by = Some(by.uid);
        let slot = run.place.slot;
        let what = noted(&mut run, Changed::Suspended, by, now);
        drop(run);
        // Noted first: should the daemon die in between, the next one holds them, and they can be resumed.
        let still = [Effect::Save(id), Effect::Freeze(id)];
        let mut effects: Vec<Effect> = still.into_iter().filter(|_| freeze).collect();
        effects.extend([
            Effect::Deny { slot, state: SlotState::SUSPENDED },
            Effect::Attach(Demand::of(&self.registry)),
        ]);
        // What was started meanwhile starts nothing any more.
        effects.extend(freeze.then_some(Effect::Freeze(id)));
        effects.extend([Effect::Save(id), Effect::Publish { id: Some(id), what }]);
        Ok(effects)
    }

    /// The kernel last: a daemon that dies before has not given anything back. Who stood still goes on when it may again.
    pub(super) fn resume(&mut self, id: Uuid, by: Actor, now: Now) -> Result<Vec<Effect>, Refusal> {
        let mut run = self.unended(id)?;
        if run.phase != Phase::Suspended {
            return Err(Refusal::NotSuspended(id));
        }
        run.phase = Phase::Active;
        run.frozen = false;
        run.held_by = None;
        let slot = run.place.slot;
        let what = noted(&mut run, Changed::Resumed, by, now);
        Ok(vec![
            Effect::Save(id),
            Effect::Permit { slot },
            Effect::Thaw(id),
            Effect::Publish { id: Some(id), what },
        ])
    }

    /// A deadline only moves back in time by an ending, and forward no further than what was promised: the policy's
    /// `max_ttl` from the launch on, and the deadline of the run above.
    pub(super) fn extend(
        &mut self,
        id: Uuid,
        by_ms: u64,
        max_ttl_ms: u64,
        by: Actor,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        if by_ms == 0 {
            return Err(Refusal::NoExtension);
        }
        let above = self.registry.get(id).and_then(|run| run.parent);
        let above = above.and_then(|parent| self.registry.get(parent)).map(|it| it.place.deadline);
        let mut run = self.unended(id)?;
        if run.place.deadline <= now.boot_ns {
            return Err(Refusal::Late(id));
        }
        let deadline = run.place.deadline.saturating_add(nanos(by_ms));
        let latest = run.launched_ns.saturating_add(nanos(max_ttl_ms));
        let left_ms = |bound: u64| bound.saturating_sub(run.place.deadline) / 1_000_000;
        if deadline > latest {
            return Err(Refusal::LongExtension { id, left_ms: left_ms(latest) });
        }
        if let Some(bound) = above.filter(|above| deadline > *above) {
            return Err(Refusal::BeyondParent { id, left_ms: left_ms(bound) });
        }
        run.place.deadline = deadline;
        let slot = run.place.slot;
        let what = noted(&mut run, Changed::Extended { by_ms }, by, now);
        Ok(vec![
            Effect::Save(id),
            Effect::Prolong { slot, deadline },
            Effect::Publish { id: Some(id), what },
        ])
    }

    pub(super) fn unended(&mut self, id: Uuid) -> Result<Changing<'_>, Refusal> {
        let ending = self.registry.get(id).and_then(|run| run.phase.ending());
        match (ending, self.registry.live_mut(id)) {
            (None, Some(run)) => Ok(run),
            (Some(ending), _) => Err(Refusal::Ended { id, ending }),
            (None, None) => Err(Refusal::Gone),
        }
    }
}

/// Notes the change in the run's own record, and tells it.
fn noted(run: &mut Run, what: Changed, by: Actor, now: Now) -> What {
    let Actor { uid, reason } = by;
    let held = Held {
        by_uid: uid,
        reason: reason.clone(),
        deadline_ms: view::wall_of(run.place.deadline, now),
        frozen: run.frozen,
    };
    run.changed(Change { at_ms: now.wall_ms, by_uid: uid, reason, what });
    match what {
        Changed::Suspended => What::Suspended(held),
        Changed::Resumed => What::Resumed(held),
        Changed::Extended { .. } => What::Extended(held),
    }
}

const fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}
