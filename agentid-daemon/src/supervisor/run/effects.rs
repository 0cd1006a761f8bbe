//! Doing what [`step`](crate::supervisor::step) says.

use std::{collections::BTreeMap, time::Instant};

use agentid_common::{
    instance::{Activity, Instance, State},
    tag::{COUNTED, InvocationId, Tag},
};
use thiserror::Error;
use tracing::error;
use uuid::Uuid;

use super::{Supervisor, adopt::RebindError, first::First, launch::chain};
use crate::{
    event::{
        enrich,
        event::{Event, Forgotten, What},
    },
    image::MapOp,
    instance::{Former, Run},
    kernel::{ApplyError, DemandError, EncloseError, FreezeError, GatherError, TagError},
    supervisor::{
        command::Caller,
        rules::Release,
        step::{Actor, Effect, Input},
        store::StoreError,
    },
};

/// Most runs that one event says to be forgotten.
const TOLD_AT_ONCE: usize = 1000;

/// Which effect did not come about.
#[derive(Debug, Error)]
pub(super) enum EffectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("attach what the run is held by at its end")]
    Attach(#[from] DemandError),
    #[error("give the run its slot")]
    Occupy(#[source] ApplyError),
    #[error("move the process into the cgroup of its run")]
    Enclose(#[from] EncloseError),
    #[error("tag the process")]
    Tag(#[from] TagError),
    #[error("tag what has been gathered")]
    Gather(#[from] GatherError),
    #[error("tag the process: nobody has asked for it")]
    NoCaller,
    #[error("deny the run everything")]
    Deny(#[source] ApplyError),
    #[error("give the run its rights back")]
    Permit(#[source] ApplyError),
    #[error("move the run's deadline")]
    Prolong(#[source] ApplyError),
    #[error("point the run's slot at its rules")]
    Bind(#[source] ApplyError),
    #[error("clear the slot")]
    Clear(#[source] ApplyError),
    #[error("have its tasks stand still, or go on")]
    Freeze(#[from] FreezeError),
    #[error("take the run's rules up again")]
    Rebind(#[from] RebindError),
}

impl Supervisor {
    /// Does everything, whatever fails: an ending goes on. Failures are logged.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        let mut effects = effects.into_iter().peekable();
        while let Some(effect) = effects.next() {
            if let Effect::Stop { id, how } = effect {
                let mut stops = vec![(id, how)];
                while let Some(&Effect::Stop { id, how }) = effects.peek() {
                    stops.push((id, how));
                    effects.next();
                }
                self.stop(&stops);
                continue;
            }
            if let Effect::Save(id) = effect {
                let (mut ids, mut told) = (vec![id], Vec::new());
                while let Some(next) =
                    effects.next_if(|it| matches!(it, Effect::Save(_) | Effect::Publish { .. }))
                {
                    match next {
                        Effect::Save(id) => ids.push(id),
                        publish => told.push(publish),
                    }
                }
                self.save(&ids);
                self.perform(told);
                continue;
            }
            let rebound = match &effect {
                Effect::Rebind(id) | Effect::Bind { id, .. } => Some(*id),
                _ => None,
            };
            let Err(failure) = self.carry_out(effect, None) else { continue };
            let message = chain(&failure);
            error!(%message, "an effect has failed");
            if let Some(id) = rebound {
                // Its old rules go; it cannot live on without any.
                let reason = Some(format!("its rules could not be put in force: {message}"));
                self.input(Input::Revoke {
                    ids: vec![id],
                    kill: false,
                    by: Actor { uid: 0, reason },
                });
            }
        }
    }

    /// What is owed by a failure is tried again later.
    pub(super) fn carry_out(
        &mut self,
        effect: Effect,
        first: Option<First<'_>>,
    ) -> Result<(), EffectError> {
        let same = effect.clone();
        self.try_out(effect, first).inspect_err(|_| self.owe(&same))
    }

    fn try_out(&mut self, effect: Effect, first: Option<First<'_>>) -> Result<(), EffectError> {
        match effect {
            Effect::Save(id) => match self.state.registry.get(id) {
                Some(run) => Ok(self.store.save(run)?),
                None => Ok(()),
            },
            Effect::SaveOwners => Ok(self.store.save_owners(&self.state.denied)?),
            Effect::Forget(former) => {
                self.forget(&former);
                Ok(())
            }
            Effect::Attach(demand) => {
                // The run may be over before the next tick, and its sockets not.
                self.sockets_left |= demand.network;
                if demand.network {
                    self.needed = Some(Instant::now());
                }
                Ok(self.kernel.meet(demand)?)
            }
            Effect::Occupy { instance, id } => {
                // The first task is counted here: it is tagged from outside, so no hook sees it begin.
                let tasks = u64::from(matches!(first, Some(First::Caller(_))));
                self.occupy(id, instance, tasks)
            }
            Effect::Enclose(id) => Ok(self.enter(id, asking(first)?)?),
            Effect::Tag(id) => self.tag(id, asking(first)?),
            Effect::Retag(id) => self.retag(id, asking(first)?),
            Effect::TagGathered(id) => self.tag_gathered(id, first),
            Effect::Rebind(id) => Ok(self.rebind(id)?),
            Effect::Bind { slot, rules, .. } => {
                self.apply(&[MapOp::Bind(slot, rules)]).map_err(EffectError::Bind)
            }
            Effect::Deny { slot, state } => {
                self.apply(&[MapOp::SetState(slot, state)]).map_err(EffectError::Deny)
            }
            Effect::Permit { slot } => {
                self.count_anew(slot);
                self.apply(&[MapOp::SetState(slot, State::ACTIVE)]).map_err(EffectError::Permit)
            }
            Effect::Prolong { slot, deadline } => {
                self.apply(&[MapOp::SetDeadline(slot, deadline)]).map_err(EffectError::Prolong)
            }
            Effect::Stop { id, how } => {
                self.stop(&[(id, how)]);
                Ok(())
            }
            Effect::Freeze(id) => Ok(self.freeze(id)?),
            Effect::Thaw(id) => Ok(self.thaw(id)?),
            Effect::Clear { id, slot } => self.clear(id, slot),
            Effect::Publish { id, what } => {
                self.publish(id, what);
                Ok(())
            }
        }
    }

    /// What is told of them comes after that.
    pub(super) fn save(&mut self, ids: &[Uuid]) {
        let runs = ids.iter().filter_map(|id| self.state.registry.get(*id));
        let unsaved = self.store.save_all(runs);
        self.owed.owe_files(unsaved.runs);
        for failure in unsaved.errors {
            error!(message = %chain(&failure), "a run could not be saved");
        }
    }

    fn occupy(&mut self, id: Uuid, instance: Instance, tasks: u64) -> Result<(), EffectError> {
        let Some(slot) = self.state.registry.get(id).map(|run| run.place.slot) else {
            return Ok(());
        };
        let activity = Activity { live: tasks, started: tasks, ..Activity::default() };
        let ops = [MapOp::SetActivity(slot, activity), MapOp::SetInstance(slot, instance)];
        self.apply(&ops).map_err(EffectError::Occupy)
    }

    fn tag(&mut self, id: Uuid, caller: &Caller) -> Result<(), EffectError> {
        let Some(run) = self.state.registry.get(id) else { return Ok(()) };
        Ok(self.kernel.tag(caller.process(), &tag_of(run))?)
    }

    fn tag_gathered(&mut self, id: Uuid, first: Option<First<'_>>) -> Result<(), EffectError> {
        let Some(run) = self.state.registry.get(id) else { return Ok(()) };
        let Some(First::Gathered(gathered)) = first else { return Err(EffectError::NoCaller) };
        Ok(self.kernel.tag_gathered(gathered, tag_of(run))?)
    }

    /// The process leaves the run above for the new one, and no other run for any other.
    fn retag(&mut self, id: Uuid, caller: &Caller) -> Result<(), EffectError> {
        let Some(run) = self.state.registry.get(id) else { return Ok(()) };
        let above = run.parent.and_then(|parent| self.state.registry.get(parent));
        let above = above.ok_or(EffectError::NoCaller)?;
        let (from, to) = (tag_of(above), tag_of(run));
        Ok(self.kernel.retag(caller.process(), caller.tgid, &from, &to)?)
    }

    /// Empties a slot. What its run alone has needed is taken back later, when no hook can be under way with it.
    fn clear(&mut self, id: Uuid, slot: u32) -> Result<(), EffectError> {
        let cleared = self.apply(&[MapOp::SetInstance(slot, Instance::default())]);
        self.stopping.remove(&id);
        self.settle_waiters(id);
        if let Some(generation) = self.state.registry.get(id).map(|run| run.place.generation) {
            self.leaves_orphans(slot, generation);
        }
        if let Some(run) = self.state.registry.get(id) {
            self.groups_left.extend(run.groups.iter().cloned());
        }
        if let Some(ending) = self.state.registry.get(id).and_then(|run| run.phase.ending()) {
            self.metrics.endings.with_label_values(&[ending.name()]).inc();
        }
        // Rules that a slot may still name stay where they are.
        cleared.map_err(EffectError::Clear)?;
        self.forget_names(id);
        self.garbage.extend(self.rules.unbind(id));
        Ok(())
    }

    /// The records of runs that ended long ago go. One that cannot be removed is no failure of what it is forgotten for.
    fn forget(&mut self, former: &[Former]) {
        let mut by_user: BTreeMap<u32, Vec<Uuid>> = BTreeMap::new();
        for &Former { id, uid } in former {
            if let Err(failure) = self.store.forget(id) {
                error!(%id, message = %chain(&failure), "a record stays");
            }
            by_user.entry(uid).or_default().push(id);
        }
        for (uid, runs) in by_user {
            for runs in runs.chunks(TOLD_AT_ONCE) {
                let what = What::Forgotten(Forgotten { runs: runs.to_vec() });
                let event = Event { seq: 0, time_ms: super::clock::wall_ms(), run: None, what };
                self.export(event, Some(uid));
            }
        }
    }

    pub(super) fn publish(&mut self, id: Option<Uuid>, what: What) {
        let run = id.and_then(|id| self.state.registry.get(id));
        let uid = run.map(|run| run.uid);
        let run = run.map(enrich::name);
        self.export(Event { seq: 0, time_ms: super::clock::wall_ms(), run, what }, uid);
    }

    /// Writes to the kernel's tables, and to the copy what has been written.
    pub(super) fn apply(&mut self, ops: &[MapOp]) -> Result<(), ApplyError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.kernel.apply(ops)?;
        self.rules.applied(ops);
        Ok(())
    }

    /// Takes back what ended runs have needed: one wait for the hooks under way serves them all.
    pub(super) fn collect(&mut self) {
        if self.garbage.is_empty() {
            return;
        }
        if let Err(failure) = self.apply(&[MapOp::Synchronize]) {
            error!(message = %chain(&failure), "ended runs' rules stay for now");
            return;
        }
        for release in std::mem::take(&mut self.garbage) {
            // The numbers of what could not be removed stay taken: given out again they would mean two things.
            if let Err(failure) = self.take_back(release) {
                error!(message = %chain(&failure), "an ended run's rules stay in the kernel");
            }
        }
    }

    pub(super) fn take_back(&mut self, release: Release) -> Result<(), ApplyError> {
        self.apply(&release.removal)?;
        let rest = self.rules.release(release);
        self.apply(&rest)
    }
}

/// The process that asks to become a run.
fn asking(first: Option<First<'_>>) -> Result<&Caller, EffectError> {
    match first {
        Some(First::Caller(caller)) => Ok(caller),
        Some(First::Gathered(_)) | None => Err(EffectError::NoCaller),
    }
}

/// What the first task of a run carries.
fn tag_of(run: &Run) -> Tag {
    Tag {
        generation: run.place.generation,
        slot: run.place.slot,
        mark: COUNTED,
        invocation: InvocationId(run.id.into_bytes()),
    }
}
