//! Runs that go beyond a limit of their policy, or meet a tripwire, are ended.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::Supervisor;
use crate::{
    instance::{Ending, Phase, Run, run::RunMode},
    supervisor::{rules::Rules, step::Input},
};

/// What is known of a tripwire that was only counted.
const UNRECORDED: &str = "it met a tripwire, of which no record has come";

impl Supervisor {
    /// One look at every live run whose policy sets a limit, by what the kernel has counted: records may be lost.
    pub(super) fn hold_to_limits(&mut self) {
        let now = self.kernel.boot_ns();
        let mut beyond = Vec::new();
        let registry = &self.state.registry;
        for run in registry.live().filter(|run| run.phase.is_live()) {
            let Some(limit) = limit_of(&self.rules, run) else { continue };
            let Some(activity) = self.activity(run.place.slot) else { continue };
            let is_active =
                |id| registry.get(id).is_some_and(|run: &Run| run.phase == Phase::Active);
            // In audit mode nothing has been denied to it.
            let counts = run.mode == RunMode::Enforce
                && run.above.iter().chain([&run.id]).all(|id| is_active(*id));
            if !counts {
                self.denials.begin_anew(run.id, now, activity.denied);
                continue;
            }
            // What an earlier daemon has seen of it, and why it was denied what, is not known.
            let launched = (run.launched_ns >= self.started_ns).then_some(run.launched_ns);
            let found = self.denials.note(run.id, launched, now, activity.denied);
            if found > u64::from(limit) {
                let reason =
                    format!("{found} denials within a minute, and its policy bears {limit}");
                beyond.push((run.id, reason));
            }
        }
        let rules = &self.rules;
        self.denials.retain(|id| {
            let limited = |run: &Run| run.phase.is_live() && limit_of(rules, run).is_some();
            registry.get(id).is_some_and(limited)
        });
        for (id, reason) in beyond {
            self.exceed(id, reason);
        }
    }

    /// Ends a run for going beyond a limit.
    pub(super) fn exceed(&mut self, id: Uuid, reason: String) {
        tracing::warn!(%id, reason, "a run is ended for going beyond a limit");
        self.input(Input::Limit { id, ending: Ending::LimitExceeded, reason });
    }

    /// Ends the runs that have met a tripwire of which no record has come: the ring may have been full. It may also be the
    /// next thing to be read, so that a run is given a second look first.
    pub(super) fn look_at_tripwires(&mut self) {
        let live = self.state.registry.live().filter(|run| run.phase.is_live());
        let guarded = live.filter(|run| self.has_tripwires(run));
        let met = guarded.filter(|run| self.has_met_one(run.place.slot)).map(|run| run.id);
        let met: BTreeSet<Uuid> = met.collect();
        let again: Vec<Uuid> = met.intersection(&self.tripped).copied().collect();
        self.tripped = met;
        for id in again {
            self.trip(id, UNRECORDED.to_owned());
        }
    }

    /// The same of one run, before something else is said to have ended it.
    pub(super) fn look_at_tripwire(&mut self, id: Uuid, slot: u32) {
        if self.has_met_one(slot) {
            self.trip(id, UNRECORDED.to_owned());
        }
    }

    fn has_met_one(&self, slot: u32) -> bool {
        self.activity(slot).is_some_and(|activity| activity.tripped != 0)
    }

    /// Ends a run that has met a tripwire.
    pub(super) fn trip(&mut self, id: Uuid, reason: String) {
        let run = self.state.registry.get(id);
        if run.is_some_and(|run| run.phase.is_live()) {
            tracing::warn!(%id, reason, "a run is ended for meeting a tripwire");
            self.input(Input::Limit { id, ending: Ending::Tripwire, reason });
        }
    }

    /// Whether its own policy has one, or that of a run above.
    fn has_tripwires(&self, run: &Run) -> bool {
        let above = run.above.iter().filter_map(|id| self.state.registry.get(*id));
        let mut chain = std::iter::once(run).chain(above);
        chain.any(|run| {
            let document = self.rules.document(&run.policy);
            document.is_none_or(|document| document.policy.has_tripwires())
        })
    }

    /// What a run that goes on again, and those below it, were denied up to now is not their own doing.
    pub(super) fn count_anew(&mut self, slot: u32) {
        let now = self.kernel.boot_ns();
        let Some(id) = self.state.registry.in_slot(slot).map(|run| run.id) else { return };
        let below = self.state.registry.descendants(id);
        for id in below.into_iter().chain([id]) {
            let run = self.state.registry.get(id);
            let run = run.filter(|run| limit_of(&self.rules, run).is_some());
            if let Some(activity) = run.and_then(|run| self.activity(run.place.slot)) {
                self.denials.begin_anew(id, now, activity.denied);
            }
        }
    }
}

fn limit_of(rules: &Rules, run: &Run) -> Option<u32> {
    rules.document(&run.policy)?.policy.limits().denials_per_minute
}
