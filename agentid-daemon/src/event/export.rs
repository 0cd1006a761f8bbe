//! Events to those who follow them, and the last ones kept for those who come later.
//!
//! Every queue is bounded. A follower that is too slow misses events, is told how many as soon as there is room, and
//! the host's counter shows it; nobody else waits for it.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc::{self, error::TrySendError};
use uuid::Uuid;

use super::event::{Dropped, Event, What};

/// Events that wait for one follower.
const QUEUE: usize = 1024;
/// Most followers at once: no fewer than there can be connections, which are shared out between users and operators, so
/// that no user's followers keep an operator from following.
const FOLLOWERS: usize = 320;

/// Who may see which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub run: Option<Uuid>,
    /// Only runs of this user; `None` for those who may see all.
    pub uid: Option<u32>,
}

/// An event with what decides who may see it.
#[derive(Debug)]
struct Kept {
    event: Arc<Event>,
    uid: Option<u32>,
}

#[derive(Debug)]
struct Follower {
    filter: Filter,
    queue: mpsc::Sender<Arc<Event>>,
    dropped: u64,
}

/// All sinks of events.
#[derive(Debug)]
pub struct Hub {
    history: VecDeque<Kept>,
    capacity: usize,
    followers: Vec<Follower>,
}

impl Hub {
    /// A hub that keeps the last `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self {
            history: VecDeque::with_capacity(capacity.min(1024)),
            capacity,
            followers: Vec::new(),
        }
    }

    /// Gives an event to all who may see it. `uid` is the user of its run. Returns how many were dropped.
    pub fn publish(&mut self, event: Event, uid: Option<u32>) -> u64 {
        let event = Arc::new(event);
        let mut dropped = 0;
        self.followers.retain_mut(|follower| {
            if !follower.filter.shows(&event, uid) {
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
        if self.history.len() >= self.capacity {
            self.history.pop_front();
        }
        self.history.push_back(Kept { event, uid });
        dropped
    }

    /// The last events that the filter shows, the oldest first.
    pub fn history(&self, filter: Filter) -> Vec<Arc<Event>> {
        self.history
            .iter()
            .filter(|kept| filter.shows(&kept.event, kept.uid))
            .map(|kept| Arc::clone(&kept.event))
            .collect()
    }

    /// A queue of all events from now on; `None` when there are too many followers.
    pub fn follow(&mut self, filter: Filter) -> Option<mpsc::Receiver<Arc<Event>>> {
        self.followers.retain(|follower| !follower.queue.is_closed());
        if self.followers.len() >= FOLLOWERS {
            return None;
        }
        let (queue, events) = mpsc::channel(QUEUE);
        self.followers.push(Follower { filter, queue, dropped: 0 });
        Some(events)
    }
}

impl Filter {
    fn shows(&self, event: &Event, uid: Option<u32>) -> bool {
        let run = event.run.as_ref().map(|run| run.id);
        (self.run.is_none() || self.run == run) && (self.uid.is_none() || self.uid == uid)
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
            let count = self.dropped;
            let notice =
                Event { time_ms: event.time_ms, run: None, what: What::Dropped(Dropped { count }) };
            if self.queue.try_send(Arc::new(notice)).is_ok() {
                self.dropped = 0;
            }
        }
        match self.queue.try_send(Arc::clone(event)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                Offered::Dropped
            }
            Err(TrySendError::Closed(_)) => Offered::Gone,
        }
    }
}
