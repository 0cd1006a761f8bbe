//! Events to those who follow them, and the last ones kept for those who come later or come again.
//!
//! Every queue is bounded. A follower that is too slow misses events, is told how many as soon as there is room, and
//! the host's counter shows it; nobody else waits for it. Whoever comes again says which number was the last, and goes on
//! right after it, or is told that there are events in between which are not known any more.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc::{self, error::TrySendError};
use uuid::Uuid;

use super::event::{Dropped, Event, Missed, What};
use crate::{
    instance::Registry,
    supervisor::{select::Meant, step::Now},
};

/// Events that wait for one follower.
const QUEUE: usize = 1024;
/// Most followers at once: no fewer than there can be connections, which are shared out between users and operators, so
/// that no user's followers keep an operator from following.
const FOLLOWERS: usize = 320;
/// For so many times as many events as are kept it is known that they were.
const TRACES: usize = 4;

/// Who sees which events. All that is said must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub run: Option<Uuid>,
    /// Only runs that are meant; none that is not known any more.
    pub meant: Option<Meant>,
    /// Only runs of this user; `None` for those who may see all.
    pub uid: Option<u32>,
}

/// All runs that are known, as they are now.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub registry: &'a Registry,
    pub now: Now,
}

/// An event with what decides who may see it.
#[derive(Debug)]
struct Kept {
    event: Arc<Event>,
    uid: Option<u32>,
}

/// What is left of an event that is not kept any more.
#[derive(Clone, Copy, Debug)]
struct Trace {
    seq: u64,
    time_ms: u64,
    run: Option<Uuid>,
    uid: Option<u32>,
    is_denial: bool,
}

#[derive(Debug)]
struct Follower {
    filter: Filter,
    queue: mpsc::Sender<Arc<Event>>,
    /// How many events had no room since the last that had, and the number of the last of them.
    dropped: u64,
    last_dropped: u64,
}

/// All sinks of events.
#[derive(Debug)]
pub struct Hub {
    history: VecDeque<Kept>,
    /// Of events right before those, the oldest in front.
    gone: VecDeque<Trace>,
    /// Of events up to this number nothing is known.
    unknown: u64,
    /// Those up to this one are of earlier daemons.
    start: u64,
    capacity: usize,
    followers: Vec<Follower>,
}

impl Hub {
    /// A hub that keeps the last `capacity` events, all of which have numbers above `start`.
    pub fn new(capacity: usize, start: u64) -> Self {
        Self {
            history: VecDeque::with_capacity(capacity.min(1024)),
            gone: VecDeque::new(),
            unknown: start,
            start,
            capacity,
            followers: Vec::new(),
        }
    }

    /// Gives an event to all who may see it. Its number is larger than that of any before it; `uid` is the user of its run.
    /// Returns how many were dropped.
    pub fn publish(&mut self, event: Event, uid: Option<u32>, known: Known<'_>) -> u64 {
        let event = Arc::new(event);
        let mut dropped = 0;
        self.followers.retain_mut(|follower| {
            if !follower.filter.shows(&event, uid, known) {
                return !follower.queue.is_closed();
            }
            match follower.offer(&event) {
                Offered::Taken => true,
                Offered::Dropped => {
                    dropped += 1;
                    true
                }
                Offered::Gone => false,
            }
        });
        if self.history.len() >= self.capacity
            && let Some(kept) = self.history.pop_front()
        {
            self.trace(&kept);
        }
        self.history.push_back(Kept { event, uid });
        dropped
    }

    fn trace(&mut self, kept: &Kept) {
        if self.gone.len() >= TRACES * self.capacity
            && let Some(oldest) = self.gone.pop_front()
        {
            self.unknown = oldest.seq;
        }
        let (event, uid) = (&kept.event, kept.uid);
        self.gone.push_back(Trace {
            seq: event.seq,
            time_ms: event.time_ms,
            run: run_of(event),
            uid,
            is_denial: event.what.is_denial(),
        });
    }

    /// The last events that the filter shows, the oldest first.
    pub fn history(&self, filter: &Filter, known: Known<'_>) -> Vec<Arc<Event>> {
        self.after(filter, known, 0)
    }

    /// Those of them that have larger numbers.
    pub fn after(&self, filter: &Filter, known: Known<'_>, seq: u64) -> Vec<Arc<Event>> {
        // Numbers rise, so that what came before need not be looked at.
        let first = self.history.partition_point(|kept| kept.event.seq <= seq);
        self.history
            .range(first..)
            .filter(|kept| filter.shows(&kept.event, kept.uid, known))
            .map(|kept| Arc::clone(&kept.event))
            .collect()
    }

    /// What somebody who has read everything up to a number is to be told before [`Hub::after`]; `None` when he has missed
    /// nothing. `last` is the number that was given last.
    ///
    /// The notice has a number like any event. It is right before the next one that he is shown, and so says nothing of others.
    pub fn missed(&self, filter: &Filter, known: Known<'_>, seq: u64, last: u64) -> Option<Event> {
        let (mut lost, mut is_sure) = (0_u64, true);
        for trace in self.gone.iter().rev().take_while(|trace| trace.seq > seq) {
            match filter.shows_run(trace.run, trace.uid, known) {
                Some(true) => lost += 1,
                Some(false) => {}
                None => is_sure = false,
            }
        }
        // Of those that are kept nobody can tell any more whether they were meant, where their run is forgotten.
        let first = self.history.partition_point(|kept| kept.event.seq <= seq);
        let told = |kept: &Kept| filter.shows_run(run_of(&kept.event), kept.uid, known);
        is_sure &= self.history.range(first..).all(|kept| told(kept).is_some());
        let (count, why) = match lost {
            _ if seq > last => (None, "unknown"),
            _ if seq < self.start => (None, "restarted"),
            _ if seq < self.unknown || !is_sure => (None, "evicted"),
            0 => return None,
            count => (Some(count), "evicted"),
        };
        let shows = |kept: &&Kept| filter.shows(&kept.event, kept.uid, known);
        let mut kept = self.history.iter().filter(shows);
        let next = kept.find(|kept| seq > last || kept.event.seq > seq);
        let up_to = next.map_or(last, |next| next.event.seq.saturating_sub(1));
        let what = What::Missed(Missed { count, why: why.to_owned() });
        Some(Event { seq: up_to, time_ms: known.now.wall_ms, run: None, what })
    }

    /// What a run is to be told before its denials; `None` when all that there were since its launch are kept.
    pub fn missed_denials(&self, run: Uuid, launched_ms: u64, started_ms: u64) -> Option<Missed> {
        let lost = self.gone.iter().filter(|trace| trace.run == Some(run) && trace.is_denial);
        let traced_ms = self.gone.front().map_or(0, |oldest| oldest.time_ms);
        let (count, why) = match lost.count() as u64 {
            _ if launched_ms < started_ms => (None, "restarted"),
            _ if self.unknown > self.start && launched_ms <= traced_ms => (None, "evicted"),
            0 => return None,
            count => (Some(count), "evicted"),
        };
        Some(Missed { count, why: why.to_owned() })
    }

    /// A queue of all events from now on; `None` when there are too many followers.
    pub fn follow(&mut self, filter: Filter) -> Option<mpsc::Receiver<Arc<Event>>> {
        self.followers.retain(|follower| !follower.queue.is_closed());
        if self.followers.len() >= FOLLOWERS {
            return None;
        }
        let (queue, events) = mpsc::channel(QUEUE);
        self.followers.push(Follower { filter, queue, dropped: 0, last_dropped: 0 });
        Some(events)
    }
}

fn run_of(event: &Event) -> Option<Uuid> {
    event.run.as_ref().map(|run| run.id)
}

impl Filter {
    fn shows(&self, event: &Event, uid: Option<u32>, known: Known<'_>) -> bool {
        self.shows_run(run_of(event), uid, known) == Some(true)
    }

    /// Nothing of a run that is not known any more, where it would have to be meant.
    fn shows_run(&self, run: Option<Uuid>, uid: Option<u32>, known: Known<'_>) -> Option<bool> {
        let may_see = self.uid.is_none() || self.uid == uid;
        if !may_see || (self.run.is_some() && self.run != run) {
            return Some(false);
        }
        match (&self.meant, run) {
            (None, _) => Some(true),
            (Some(_), None) => Some(false),
            (Some(meant), Some(run)) => {
                let run = known.registry.get(run)?;
                Some(meant.means(run, known.now))
            }
        }
    }
}

enum Offered {
    Taken,
    Dropped,
    Gone,
}

impl Follower {
    fn offer(&mut self, event: &Arc<Event>) -> Offered {
        if self.dropped != 0 {
            let (seq, count) = (self.last_dropped, self.dropped);
            let what = What::Dropped(Dropped { count });
            let notice = Event { seq, time_ms: event.time_ms, run: None, what };
            if self.queue.try_send(Arc::new(notice)).is_ok() {
                self.dropped = 0;
            }
        }
        match self.queue.try_send(Arc::clone(event)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                self.last_dropped = event.seq;
                Offered::Dropped
            }
            Err(TrySendError::Closed(_)) => Offered::Gone,
        }
    }
}
