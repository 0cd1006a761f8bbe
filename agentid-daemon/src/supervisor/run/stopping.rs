//! Stopping what has ended, until no task is left.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
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
    kernel::{EndedConnections, HangUpError, HangingUp, HungUp, Processes, Runs, SMALL, family_of},
    supervisor::step::Input,
};

/// Passes come soon at first, and the later the longer it takes: who looks takes the processor from those who are to end on
/// it, and a task that is asleep where no signal reaches it must not keep the loop busy.
pub(super) const SOONEST: Duration = Duration::from_millis(2);
pub(super) const LATEST: Duration = Duration::from_millis(50);
/// Until so long after the end; then it is left to the tick.
const EAGER: Duration = Duration::from_secs(10);
/// Between two passes there is at least so many times what the last one took.
const REST: u32 = 3;

/// How long the loop waits in a second until connections are ended and tasks stand still, of all runs together. It takes a few microseconds for
/// each socket, unless a run keeps one busy; what is late goes on beside.
pub(super) const COURTESY: Duration = Duration::from_millis(500);

/// Descriptors of tasks that are to be killed are held when they are still there so long after it, or when they cannot be
/// killed so soon. Every process of the host pays for that, and most tasks are gone before it could be attached.
pub(super) const OUTLASTED: Duration = Duration::from_millis(200);
pub(super) const PROMPT: Duration = Duration::from_millis(20);

/// So few runs are looked for by their first processes, on a host with so many that the list of all tasks takes longer.
const FEW: usize = 4;
const MANY: usize = 200;

/// A run that is denied everything and has tasks left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    pub slot: u32,
    generation: u64,
    /// What is done to its tasks; those that are not killed are watched.
    how: OnEnd,
    since: Instant,
    /// The connections that were ended of it.
    pub hung_up: Option<EndedConnections>,
}

/// Runs of which the last list of all tasks had none. Their counts may say otherwise: the kernel skips the program that counts
/// an exit where that is at work already, and the task then counts until its parent has waited for it, which may be never.
#[derive(Debug, Default)]
pub(super) struct Unseen(BTreeSet<u64>);

impl Unseen {
    /// Those that are missing in this list as well. A task that was made while the first one was written is in the second.
    pub(super) fn again(&mut self, runs: &Runs, present: &BTreeSet<u64>) -> Runs {
        let absent = runs.iter().filter(|(_, generation)| !present.contains(generation));
        let (again, first): (Runs, Runs) =
            absent.partition(|(_, generation)| self.0.contains(generation));
        self.0 = first.into_values().collect();
        again
    }
}

impl Stopping {
    pub(super) const fn place(&self) -> (u32, u64) {
        (self.slot, self.generation)
    }
}

impl Supervisor {
    /// Begins to stop runs, which are denied everything already. However many they are, their processes are looked for once:
    /// that takes the longer the more tasks the host has.
    pub(super) fn stop(&mut self, stops: &[(Uuid, OnEnd)]) {
        let (mut runs, mut killed) = (Runs::new(), Runs::new());
        for &(id, how) in stops {
            let Some(run) = self.state.registry.get(id) else { continue };
            let Place { slot, generation, .. } = run.place;
            runs.insert(slot, generation);
            if how == OnEnd::Kill {
                killed.insert(slot, generation);
            }
            let since = Instant::now();
            let stopping = Stopping { slot, generation, how, since, hung_up: None };
            self.stopping.insert(id, stopping);
        }
        if let Some(processes) = self.few_of_many(&runs).or_else(|| self.processes(&runs)) {
            self.take_down(processes, &runs, &killed, stops);
        }
        for &(id, how) in stops {
            let run = self.state.registry.get(id);
            match how {
                // Denied everything it is in any case.
                OnEnd::Freeze => self.attempt(id, Self::freeze),
                OnEnd::Deny if run.is_some_and(|run| !run.groups.is_empty()) => {
                    self.attempt(id, Self::thaw);
                }
                OnEnd::Kill | OnEnd::Deny => {}
            }
        }
    }

    /// Ends their connections, and kills those who are to be killed.
    fn take_down(
        &mut self,
        mut processes: Processes,
        runs: &Runs,
        killed: &Runs,
        stops: &[(Uuid, OnEnd)],
    ) {
        let connections = self.hang_up(processes.clone(), killed, stops);
        processes.retain(|(_, slot, _)| killed.contains_key(slot));
        self.signal(&processes);
        let now = Instant::now();
        for (id, _) in stops.iter().filter(|(_, how)| *how == OnEnd::Kill) {
            if let Some(stopping) = self.stopping.get_mut(id) {
                stopping.since = now;
            }
        }
        if connections.is_some() {
            runs.iter().for_each(|(slot, generation)| self.may_leave_orphans(*slot, *generation));
        }
        self.finish(connections);
        self.end_orphans();
    }

    /// When the tasks of stopping runs are looked at again, should nothing come before.
    pub(super) fn next_pass(&self) -> Option<Instant> {
        let now = Instant::now();
        let killed = self.stopping.values().filter(|stopping| stopping.how == OnEnd::Kill);
        // From the last one on: the loop turns more often than that.
        let next = killed.filter_map(|stopping| {
            let pause = pause(now - stopping.since, self.pass_took)?;
            Some(stopping.since.max(self.passed) + pause)
        });
        next.min()
    }

    /// One look at every stopping run: tasks that a fork brought in since the last one are stopped too.
    pub(super) fn pass(&mut self) {
        let begun = Instant::now();
        let (mut left, mut outlasting) = (Runs::new(), Vec::new());
        for (id, Stopping { slot, generation, how, since, .. }) in self.stopping.clone() {
            let live = self.activity(slot).map(|activity| activity.live);
            let run = self.state.registry.get(id);
            match how {
                _ if live == Some(0) => self.empty(slot, generation),
                OnEnd::Kill => {
                    left.insert(slot, generation);
                    if since.elapsed() > OUTLASTED {
                        outlasting.push(id);
                    }
                }
                OnEnd::Freeze if run.is_some_and(|run| !run.frozen) => {
                    self.attempt(id, Self::freeze);
                }
                OnEnd::Freeze | OnEnd::Deny => {}
            }
        }
        if let Some(processes) = self.processes(&left) {
            self.signal(&processes);
            let present = processes.iter().map(|(.., generation)| *generation).collect();
            for (slot, generation) in self.unseen.again(&left, &present) {
                self.empty(slot, generation);
            }
        }
        if !outlasting.is_empty() {
            self.input(Input::Outlasting(outlasting));
        }
        self.give_up_waiting();
        self.passed = Instant::now();
        self.pass_took = self.passed - begun;
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
        let present = tasks.iter().map(|task| task.generation).collect();
        let runs = self.places(|_| true);
        let runs = runs.into_iter().map(|place| (place.slot, place.generation)).collect();
        for (slot, generation) in self.absent.again(&runs, &present) {
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

    /// Those of small runs on a host with many, as their first processes tell. Whom that leaves out the next pass finds.
    fn few_of_many(&self, runs: &Runs) -> Option<Processes> {
        if runs.len() > FEW || self.state.registry.live_count() < MANY {
            return None;
        }
        let mut found = Processes::new();
        for (&slot, &generation) in runs {
            let run = self.state.registry.holder(slot, generation)?;
            let tasks = self.activity(slot)?.live;
            if tasks > SMALL {
                return None;
            }
            let family = family_of(run.tgid, tasks)?;
            found.extend(family.into_iter().map(|tgid| (tgid, slot, generation)));
        }
        Some(found)
    }

    /// The processes of runs that are over; none where there are no runs.
    fn processes(&mut self, runs: &Runs) -> Option<Processes> {
        if runs.is_empty() {
            return None;
        }
        match self.kernel.processes(runs) {
            Ok(processes) => Some(processes),
            Err(failure) => {
                warn!(message = %chain(&failure), "tasks of ended runs are not known");
                None
            }
        }
    }

    /// Begins to tell those at the other end, and returns when the processes may be killed.
    fn hang_up(
        &mut self,
        processes: Processes,
        killed: &Runs,
        stops: &[(Uuid, OnEnd)],
    ) -> Option<HangingUp> {
        let connections = match self.kernel.hang_up(processes, killed) {
            Ok(connections) => connections?,
            Err(failure) => {
                self.not_hung_up(&failure);
                return None;
            }
        };
        // Without courtesy left it is not waited for, and what is not taken by then is not ended.
        if !self.within(PROMPT, |patience| connections.is_taken(patience))
            && !self.courtesy.is_zero()
        {
            self.input(Input::Outlasting(stops.iter().map(|(id, _)| *id).collect()));
            self.within(COURTESY, |patience| connections.is_taken(patience));
        }
        Some(connections)
    }

    /// Waits for so long at most, and no longer than there is courtesy left, of which that takes.
    fn within<T>(&mut self, patience: Duration, wait: impl FnOnce(Duration) -> T) -> T {
        let begun = Instant::now();
        let outcome = wait(patience.min(self.courtesy));
        self.courtesy = self.courtesy.saturating_sub(begun.elapsed());
        outcome
    }

    fn finish(&mut self, connections: Option<HangingUp>) {
        let Some(connections) = connections else { return };
        match self.within(COURTESY, |patience| connections.finish(patience)) {
            Ok(HungUp { connections, failure }) => {
                for stopping in self.stopping.values_mut() {
                    if let Some(ended) = connections.get(&stopping.slot) {
                        stopping.hung_up = Some(*ended);
                    }
                }
                failure.iter().for_each(|failure| self.not_hung_up(failure));
            }
            Err(failure) => self.not_hung_up(&failure),
        }
    }

    /// How many connections of these runs were ended from a moment on, and when the last one was.
    pub(super) fn hung_up<'a>(
        &self,
        ids: impl Iterator<Item = &'a Uuid>,
        since: Instant,
    ) -> (u64, Option<Instant>) {
        let ended = ids.filter_map(|id| self.stopping.get(id)?.hung_up);
        let ended = ended.filter(|ended| ended.last >= since);
        ended.fold((0, None), |(sum, last), ended| (sum + ended.count, last.max(Some(ended.last))))
    }

    pub(super) fn not_hung_up(&self, failure: &HangUpError) {
        warn!(message = %chain(failure), "connections of ended runs were not ended");
    }

    fn signal(&self, processes: &Processes) {
        if let Err(failure) = self.kernel.stop(processes) {
            warn!(message = %chain(&failure), "tasks of ended runs were not stopped");
        }
    }
}

/// What the kernel has counted of a run.
pub(super) fn totals(activity: &Activity) -> Totals {
    let Activity { sequence, live: _, started, allowed, denied, faults, lost, tripped: _ } =
        *activity;
    Totals { started, allowed, denied, faults, records: sequence, lost }
}

/// Time to the next pass so long after an end, when the last one took this long; `None` leaves it to the tick.
pub(super) fn pause(since: Duration, took: Duration) -> Option<Duration> {
    (since < EAGER).then(|| (since / 2).clamp(SOONEST, LATEST).max(took * REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_gone_that_two_lists_in_a_row_do_not_have() {
        let (runs, mut unseen) = (Runs::from([(1, 10), (2, 20)]), Unseen::default());
        let mut again = |present: &[u64]| unseen.again(&runs, &present.iter().copied().collect());
        assert_eq!(again(&[10]), Runs::new());
        assert_eq!(again(&[20]), Runs::new(), "not in a row");
        assert_eq!(again(&[20]), Runs::from([(1, 10)]));
        assert_eq!(again(&[20]), Runs::new(), "that is said once");
        assert_eq!(again(&[10, 20]), Runs::new());
    }

    #[test]
    fn passes_come_the_later_the_longer_it_takes() {
        let ms = Duration::from_millis;
        let pauses = [0, 4, 20, 99, 100, 9_999, 10_000].map(|since| pause(ms(since), ms(0)));
        let expected =
            [ms(2), ms(2), ms(10), ms(49) + ms(1) / 2, ms(50), ms(50)].map(Some).into_iter();
        assert_eq!(pauses.to_vec(), expected.chain([None]).collect::<Vec<_>>());
    }

    #[test]
    fn passes_take_a_quarter_of_the_time_at_most() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(20), ms(3)), Some(ms(10)));
        assert_eq!(pause(ms(20), ms(5)), Some(ms(15)));
        assert_eq!(pause(ms(500), ms(30)), Some(ms(90)));
        assert_eq!(pause(EAGER, ms(5)), None);
    }
}
