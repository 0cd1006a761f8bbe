//! What runs leave of their connections: closed by their processes before the daemon came to them, with something unsent, or
//! in the hands of somebody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use agentid_common::record::SocketLine;
use tracing::warn;

use super::{
    Supervisor,
    launch::chain,
    stopping::{Stopping, pause},
};
use crate::kernel::{EndedConnections, OrphanError, Runs, is_held};

/// How long connections are looked for in a second.
pub(super) const COURTESY: Duration = Duration::from_millis(100);
/// So long the other end may take to say that it has all that a run had sent which ended by itself.
const FAREWELL: Duration = Duration::from_secs(5);
/// Who has a socket so long after that, has one that somebody holds.
const STUBBORN: Duration = Duration::from_secs(20);

/// Runs that are over, and of which sockets may be left: by slot and generation.
pub(super) type Left = BTreeMap<(u32, u64), Leaving>;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// From when on its connections are ended.
    from: Instant,
    /// What has tasks is looked at with every tick, as long as it has some; the others, soon and often.
    has_tasks: bool,
    /// How often somebody else was looked for who has one.
    sought: usize,
}

/// So long after that somebody is looked for, again and again. By then most are gone, with the run's own processes.
const SOUGHT: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

impl Supervisor {
    /// At a start: what an earlier daemon's runs have left.
    pub(super) fn know_orphans(&mut self) {
        let (registry, from) = (&self.state.registry, Instant::now() + FAREWELL);
        let mut found = Left::new();
        let seen = self.kernel.each_socket(|SocketLine { slot, generation, .. }| {
            if registry.holder(slot, generation).is_none() {
                found.insert((slot, generation), Leaving { from, has_tasks: false, sought: 0 });
            }
        });
        self.orphans.append(&mut found);
        if let Err(failure) = seen {
            warn!(message = %chain(&failure), "which sockets are left is not known");
        }
    }

    /// A run is over, and has sockets that somebody else is at the other end of.
    pub(super) fn may_leave_orphans(&mut self, slot: u32, generation: u64) {
        let leaving = Leaving { from: Instant::now(), has_tasks: true, sought: 0 };
        self.orphans.insert((slot, generation), leaving);
    }

    /// Its last task is gone: whoever it talked to is told at once, or is given time if it has ended by itself.
    pub(super) fn leaves_orphans(&mut self, slot: u32, generation: u64) {
        let now = Instant::now();
        let by_itself = Leaving { from: now + FAREWELL, has_tasks: false, sought: 0 };
        let left = self.orphans.entry((slot, generation)).or_insert(by_itself);
        if left.has_tasks {
            *left = Leaving { from: now, has_tasks: false, sought: 0 };
        }
    }

    /// When connections are looked for again, should nothing come before.
    pub(super) fn next_orphans(&self) -> Option<Instant> {
        let now = Instant::now();
        let left = self.orphans.values().filter(|leaving| !leaving.has_tasks);
        let next =
            left.filter_map(|Leaving { from, .. }| match now.checked_duration_since(*from) {
                Some(since) => pause(since, Duration::ZERO).map(|pause| self.orphans_seen + pause),
                None => Some(*from),
            });
        next.min()
    }

    /// One look at what is left of all of them. They are looked for within a part of each second.
    pub(super) fn end_orphans(&mut self) {
        let begun = Instant::now();
        self.orphans_seen = begun;
        let is_due = |leaving: &Leaving| leaving.from <= begun;
        if self.farewell.is_zero() || !self.orphans.values().any(is_due) {
            return;
        }
        let (mut left, mut held, mut due) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let seen = self.kernel.each_socket(|line| {
            let run = (line.slot, line.generation);
            if self.orphans.get(&run).is_some_and(is_due) {
                left.insert(run);
                if is_held(&line) {
                    held.insert(run);
                }
                due.push(line);
            }
        });
        let ended = seen.map_err(OrphanError::from).and_then(|()| self.kernel.end_orphans(&due));
        match ended {
            Ok(ended) => self.note_ended(&ended),
            Err(failure) => {
                warn!(message = %chain(&failure), "connections of ended runs were not ended");
                left.clear();
            }
        }
        self.hang_up_elsewhere(&held, begun);
        let stopping: BTreeSet<(u32, u64)> = self.stopping.values().map(Stopping::place).collect();
        // Who has been looked for that long has a socket that somebody holds, or that cannot be ended.
        self.orphans.retain(|run, leaving| {
            leaving.has_tasks &= stopping.contains(run);
            let is_late = begun.saturating_duration_since(leaving.from) > STUBBORN;
            leaving.from > begun || leaving.has_tasks || left.contains(run) && !is_late
        });
        self.farewell = self.farewell.saturating_sub(begun.elapsed());
    }

    /// Has those looked for who have a socket of these runs, where it is time again.
    fn hang_up_elsewhere(&mut self, held: &BTreeSet<(u32, u64)>, now: Instant) {
        let mut runs = Runs::new();
        for (run, leaving) in self.orphans.iter_mut().filter(|(run, _)| held.contains(*run)) {
            let since = now.saturating_duration_since(leaving.from);
            if SOUGHT.get(leaving.sought).is_some_and(|after| since >= *after) {
                runs.insert(run.0, run.1);
            }
        }
        if runs.is_empty() {
            return;
        }
        match self.kernel.hang_up_elsewhere(runs.clone()) {
            Ok(true) => {}
            // All who look wait for somebody: the next tick asks again.
            Ok(false) => return,
            Err(failure) => self.not_hung_up(&failure),
        }
        for run in runs {
            if let Some(leaving) = self.orphans.get_mut(&run) {
                leaving.sought += 1;
            }
        }
    }

    /// For the answer to whoever ends a run now; what is found after that answer nobody is told.
    fn note_ended(&mut self, ended: &BTreeMap<u32, EndedConnections>) {
        for stopping in self.stopping.values_mut() {
            if let Some(more) = ended.get(&stopping.slot) {
                let before = stopping.hung_up.map_or(0, |it| it.count);
                stopping.hung_up =
                    Some(EndedConnections { count: before + more.count, last: more.last });
            }
        }
    }
}
