//! A run ends: somebody ends it, its time is over, its last task is gone, or it is no longer held.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Actor, Effect, Now, OnLost, State, forget};
use crate::{
    event::event::{Ended, PostureChange, Stopped, What},
    instance::{
        Demand, Ending, Phase, Posture, Run,
        run::{End, OnEnd, Totals},
    },
    supervisor::refusal::Refusal,
};

impl State {
    pub(super) fn revoke(
        &mut self,
        ids: &[Uuid],
        kill: bool,
        by: &Actor,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        let (mut live, mut over) = (Vec::new(), Vec::new());
        for &id in ids {
            match self.registry.get(id).map(|run| run.phase) {
                Some(Phase::Stopping(_)) if kill => over.push(id),
                Some(Phase::Stopping(ending) | Phase::Ended(ending)) => {
                    return Err(Refusal::Ended { id, ending });
                }
                _ => live.push(id),
            }
        }
        let end = End {
            ending: Ending::Revoked,
            at_ms: now.wall_ms,
            reason: by.reason.clone(),
            by_uid: Some(by.uid),
            totals: None,
        };
        if kill {
            // What is below the others and over by now goes on otherwise, where its policy says so.
            let below = live.iter().flat_map(|id| self.registry.all_below(*id));
            let is_over = |run: &Run| matches!(run.phase, Phase::Stopping(_));
            over.extend(below.filter(|id| self.registry.get(*id).is_some_and(is_over)));
        }
        let mut effects = self.stop(live.into_iter().map(|id| (id, end.clone())).collect(), kill);
        effects.extend(self.kill(&over));
        Ok(effects)
    }

    /// The tasks of runs that are over, and of all below, are killed after all.
    fn kill(&mut self, over: &[Uuid]) -> Vec<Effect> {
        let below = over.iter().flat_map(|id| self.registry.all_below(*id));
        let all: BTreeSet<Uuid> = over.iter().copied().chain(below).collect();
        let left = all.into_iter().filter(|id| self.registry.is_to_be_killed(*id));
        let left: Vec<Uuid> = left.collect();
        if left.is_empty() {
            return Vec::new();
        }
        let attach = Effect::Attach(Demand::of(&self.registry));
        let stops = left.iter().map(|id| Effect::Stop { id: *id, how: OnEnd::Kill });
        [attach].into_iter().chain(stops).chain(left.iter().copied().map(Effect::Save)).collect()
    }

    /// What could not be killed at once can do less with what it has open from here on.
    pub(super) fn outlasting(&mut self, ids: &[Uuid]) -> Vec<Effect> {
        let mut news = false;
        for id in ids {
            news |= self.registry.note_outlasting(*id);
        }
        if news { vec![Effect::Attach(Demand::of(&self.registry))] } else { Vec::new() }
    }

    pub(super) fn expire(&mut self, now: Now) -> Vec<Effect> {
        let due = self
            .registry
            .live()
            .filter(|run| run.phase.is_live() && run.place.deadline <= now.boot_ns)
            .map(|run| (run.id, End::of(Ending::Expired, now.wall_ms)))
            .collect();
        self.stop(due, false)
    }

    pub(super) fn launch_failed(&mut self, id: Uuid, tagged: bool, now: Now) -> Vec<Effect> {
        if tagged {
            self.stop(vec![(id, End::of(Ending::LaunchFailed, now.wall_ms))], true)
        } else {
            self.finish(id, Ending::LaunchFailed, None, now)
        }
    }

    /// Ends a run for what it has done. One that has ended meanwhile has ended for what it has ended for.
    pub(super) fn limit(
        &mut self,
        id: Uuid,
        ending: Ending,
        reason: String,
        now: Now,
    ) -> Vec<Effect> {
        let end = End { reason: Some(reason), ..End::of(ending, now.wall_ms) };
        self.stop(vec![(id, end)], false)
    }

    pub(super) fn posture(&mut self, posture: Posture, now: Now) -> Vec<Effect> {
        if posture == self.posture {
            return Vec::new();
        }
        let change = PostureChange {
            posture: posture.name().to_owned(),
            why: posture.why().map(ToOwned::to_owned),
        };
        let lost = posture.is_off() && self.on_lost == OnLost::Kill;
        self.posture = posture;
        let mut effects = Vec::new();
        if lost {
            let live = self.registry.live().filter(|run| run.phase.is_live());
            let end = |run: &Run| (run.id, End::of(Ending::EnforcementLost, now.wall_ms));
            let live = live.map(end).collect();
            effects = self.stop(live, true);
        }
        effects.push(Effect::Publish { id: None, what: What::Posture(change) });
        effects
    }

    /// Ends runs and all below them: for all of them the stores first, then what holds those who go on, then the tasks, then
    /// what takes its time.
    pub(super) fn stop(&mut self, ends: Vec<(Uuid, End)>, kill: bool) -> Vec<Effect> {
        // Whoever ends by himself and with his parent ends once, and by himself.
        let mut below = Vec::new();
        for (id, end) in &ends {
            let inherited = End { ending: Ending::ParentEnded, by_uid: None, ..end.clone() };
            let descendants = self.registry.descendants(*id).into_iter();
            below.extend(descendants.map(|id| (id, inherited.clone())));
        }
        let (mut effects, mut stops, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (id, end) in ends.into_iter().chain(below) {
            let (ending, what) = (end.ending, What::Stopped(stopped(&end)));
            if let Some(mut run) = self.registry.stop(id, end) {
                if kill {
                    run.kill();
                }
                let how = run.on_end;
                run.frozen = how == OnEnd::Freeze;
                effects.push(Effect::Deny { slot: run.place.slot, state: ending.slot_state() });
                stops.push(Effect::Stop { id, how });
                rest.extend([Effect::Save(id), Effect::Publish { id: Some(id), what }]);
            }
        }
        if !stops.is_empty() {
            effects.push(Effect::Attach(Demand::of(&self.registry)));
        }
        effects.append(&mut stops);
        effects.append(&mut rest);
        effects
    }

    /// The last task of a run is gone, or it never had one.
    pub(super) fn finish(
        &mut self,
        id: Uuid,
        ending: Ending,
        totals: Option<Totals>,
        now: Now,
    ) -> Vec<Effect> {
        let below = self.registry.descendants(id);
        let end = End { totals, ..End::of(ending, now.wall_ms) };
        let Some((run, forgotten)) = self.registry.end(id, end) else { return Vec::new() };
        let mut effects = vec![Effect::Clear { id, slot: run.place.slot }];
        let inherited = |id| (id, End::of(Ending::ParentEnded, now.wall_ms));
        effects.extend(self.stop(below.into_iter().map(inherited).collect(), false));
        effects.push(Effect::Save(id));
        if let Some(end) = &run.end {
            effects.push(Effect::Publish { id: Some(id), what: What::Ended(ended(end)) });
        }
        effects.extend(forget(forgotten));
        effects
    }
}

pub(super) fn stopped(end: &End) -> Stopped {
    Stopped {
        ending: end.ending.name().to_owned(),
        reason: end.reason.clone(),
        by_uid: end.by_uid,
        at_ms: end.at_ms,
    }
}

pub(super) fn ended(end: &End) -> Ended {
    let Stopped { ending, reason, by_uid, at_ms } = stopped(end);
    let of = |number: fn(Totals) -> u64| end.totals.map(number);
    Ended {
        ending,
        reason,
        by_uid,
        at_ms,
        records: of(|it| it.records),
        lost: of(|it| it.lost),
        started: of(|it| it.started),
        allowed: of(|it| it.allowed),
        denied: of(|it| it.denied),
        faults: of(|it| it.faults),
    }
}
