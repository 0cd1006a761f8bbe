//! Stopping what has ended, until no task is left.

use std::{
    cmp::Reverse,
    collections::HashSet,
    time::{Duration, Instant},
};

use agentid_common::instance::Activity;
use tracing::{error, warn};
use uuid::Uuid;

use super::{Supervisor, launch::chain};
use crate::{
    instance::{
        Phase, Place,
        run::{OnEnd, Totals},
    },
    supervisor::step::Input,
};

/// A task that is asleep where no signal reaches it must not keep the loop busy: passes come soon at first.
const EAGER: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));
const STEADY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// How long the loop waits in a second until connections are ended and tasks stand still, of all runs together. It takes a few microseconds for
/// each socket, unless a run keeps one busy; what is late goes on beside.
pub(super) const COURTESY: Duration = Duration::from_millis(500);

/// A run that is denied everything and has tasks left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    pub id: Uuid,
    pub slot: u32,
    generation: u64,
    /// What is done to its tasks; those that are not killed are watched.
    how: OnEnd,
    since: Instant,
}

impl Supervisor {
    /// Begins to stop a run, which is denied everything already.
    pub(super) fn stop(&mut self, id: Uuid, how: OnEnd) {
        let Some(run) = self.state.registry.get(id) else { return };
        let (Place { slot, generation, .. }, stands_still) = (run.place, !run.groups.is_empty());
        let stopping = Stopping { id, slot, generation, how, since: Instant::now() };
        self.hang_up(&stopping);
        match how {
            OnEnd::Kill => self.signal(&stopping),
            // Denied everything it is in any case.
            OnEnd::Freeze => self.attempt(id, Self::freeze),
            OnEnd::Deny if stands_still => self.attempt(id, Self::thaw),
            OnEnd::Deny => {}
        }
        self.stopping.retain(|earlier| earlier.id != id);
        self.stopping.push(stopping);
    }

    /// When the tasks of stopping runs are looked at again, should nothing come before.
    pub(super) fn next_pass(&self) -> Option<Instant> {
        let now = Instant::now();
        let killed = self.stopping.iter().filter(|stopping| stopping.how == OnEnd::Kill);
        let pause = killed.filter_map(|stopping| pause(now - stopping.since)).min();
        pause.map(|pause| now + pause)
    }

    /// One look at every stopping run: tasks that a fork brought in since the last one are stopped too.
    pub(super) fn pass(&mut self) {
        for stopping in self.stopping.clone() {
            let live = self.activity(stopping.slot).map(|activity| activity.live);
            if live == Some(0) {
                self.empty(stopping.slot, stopping.generation);
            } else {
                self.signal(&stopping);
                let run = self.state.registry.get(stopping.id);
                if stopping.how == OnEnd::Freeze && run.is_some_and(|run| !run.frozen) {
                    self.attempt(stopping.id, Self::freeze);
                }
            }
        }
        self.give_up_waiting();
    }

    /// Finds runs whose last task has gone without a record, because the ring was full.
    pub(super) fn look_for_empty(&mut self) {
        let mut places = self.places(Phase::is_live);
        // A run is younger than the one above it. Where both have ended by themselves, the one below is not ended by the
        // other.
        places.sort_by_key(|place| Reverse(place.generation));
        for Place { slot, generation, .. } in places {
            if self.activity(slot).is_some_and(|activity| activity.live == 0) {
                self.empty(slot, generation);
            }
        }
    }

    /// Compares the kernel's counts with its list of tasks. A run without any task in two lists in a row is over, also
    /// when its count says otherwise: a count that is wrong must not keep a slot, or an answer, for ever.
    pub(super) fn reconcile(&mut self) {
        let tasks = match self.kernel.tasks() {
            Ok(tasks) => tasks,
            Err(failure) => {
                error!(message = %chain(&failure), "the kernel's list of tasks cannot be read");
                return;
            }
        };
        let present: HashSet<u64> = tasks.iter().map(|task| task.generation).collect();
        let places: Vec<Place> = self.state.registry.live().map(|run| run.place).collect();
        let absent = places.into_iter().filter(|place| !present.contains(&place.generation));
        let (again, first): (Vec<Place>, Vec<Place>) =
            absent.partition(|place| self.absent.contains(&place.generation));
        self.absent = first.into_iter().map(|place| place.generation).collect();
        for Place { slot, generation, .. } in again {
            warn!(slot, generation, "a run has no task left, and its count says otherwise");
            self.empty(slot, generation);
        }
    }

    /// The last task of a run is gone.
    pub(super) fn empty(&mut self, slot: u32, generation: u64) {
        if let Some(id) = self.state.registry.holder(slot, generation).map(|run| run.id) {
            self.look_at_tripwire(id, slot);
        }
        let totals = self.activity(slot).map(|activity| totals(&activity)).unwrap_or_default();
        self.input(Input::Empty { slot, generation, totals });
    }

    fn places(&self, which: impl Fn(Phase) -> bool) -> Vec<Place> {
        let runs = self.state.registry.live().filter(|run| which(run.phase));
        runs.map(|run| run.place).collect()
    }

    pub(super) fn activity(&self, slot: u32) -> Option<Activity> {
        match self.kernel.activity(slot) {
            Ok(activity) => Some(activity),
            Err(failure) => {
                error!(slot, message = %chain(&failure), "the activity of a run cannot be read");
                None
            }
        }
    }

    /// Tells those at the other end. What a killed process leaves unsent would keep them waiting.
    fn hang_up(&mut self, stopping: &Stopping) {
        let begun = Instant::now();
        let outcome = self.kernel.hang_up(stopping.slot, stopping.generation, self.courtesy);
        self.courtesy = self.courtesy.saturating_sub(begun.elapsed());
        if let Err(failure) = outcome {
            let message = chain(&failure);
            warn!(id = %stopping.id, %message, "connections of a run were not ended");
        }
    }

    fn signal(&mut self, stopping: &Stopping) {
        if stopping.how != OnEnd::Kill {
            return;
        }
        if let Err(failure) = self.kernel.stop(stopping.slot, stopping.generation) {
            warn!(id = %stopping.id, message = %chain(&failure), "tasks of a run were not stopped");
        }
    }
}

/// What the kernel has counted of a run.
pub(super) fn totals(activity: &Activity) -> Totals {
    let Activity { sequence, live: _, started, allowed, denied, faults, lost, tripped: _ } =
        *activity;
    Totals { started, allowed, denied, faults, records: sequence, lost }
}

/// Time to the next pass; `None` leaves it to the tick.
pub(super) fn pause(since: Duration) -> Option<Duration> {
    [EAGER, STEADY].into_iter().find(|(_, until)| since < *until).map(|(pause, _)| pause)
}
