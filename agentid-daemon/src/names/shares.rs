//! What each has of the resolver at a time, so that one who takes all there is leaves something to the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use agentid_common::net::Asker;
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::error;

use super::Request;
use crate::kernel::{Askers, ReadError};

/// How much of something each may have.
#[derive(Debug)]
pub(super) struct Shares<K> {
    each: u32,
    taken: Mutex<BTreeMap<K, u32>>,
}

impl<K: Copy + Ord> Shares<K> {
    pub(super) fn new(each: u32) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// One more, unless there are enough.
    pub(super) fn take(self: &Arc<Self>, who: K) -> Option<Share<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(who).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Share { of: Arc::clone(self), who })
    }
}

/// One that somebody has.
pub(super) struct Share<K: Copy + Ord> {
    of: Arc<Shares<K>>,
    who: K,
}

impl<K: Copy + Ord> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

/// Connections at a time: of all, and of one run with all that stand on it, as delegating gives no more.
const CONNECTIONS: (usize, u32) = (512, 32);
/// Questions that are worked on at a time, in the same way. More than a program asks before it reads an answer.
const QUESTIONS: (usize, u32) = (4096, 256);
/// Runs of which something is remembered.
const RUNS: usize = 4096;
/// Whoever is no run has this number, which no run has.
const NOBODY: u64 = 0;

/// A place of something, of all and of one's own.
pub(super) struct Place {
    _share: Share<u64>,
    _place: OwnedSemaphorePermit,
}

struct Room {
    all: Arc<Semaphore>,
    shares: Arc<Shares<u64>>,
}

impl Room {
    fn new((all, each): (usize, u32)) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), shares: Shares::new(each) }
    }
}

/// Lets in who has asked.
///
/// Who that is the kernel's tables tell before anything of a question is read. What is over the share is refused without a
/// word: an answer to each would be work that the asker orders.
pub(super) struct Gate {
    askers: Askers,
    /// The run on which each run stands at last, by their generations. That never changes.
    first: Mutex<BTreeMap<u64, u64>>,
    /// Those of which it was recorded that they ask too much.
    told: Mutex<BTreeSet<u64>>,
    connections: Room,
    questions: Room,
    refused: IntCounter,
    requests: mpsc::Sender<Request>,
}

impl Gate {
    pub(super) fn new(
        askers: Askers,
        refused: IntCounter,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        let (connections, questions) = (Room::new(CONNECTIONS), Room::new(QUESTIONS));
        let (first, told) = (Mutex::default(), Mutex::default());
        Self { askers, first, told, connections, questions, refused, requests }
    }

    pub(super) fn connection(&self, protocol: u8, from: SocketAddr) -> Option<Place> {
        self.enter(&self.connections, protocol, from)
    }

    pub(super) fn question(&self, protocol: u8, from: SocketAddr) -> Option<Place> {
        self.enter(&self.questions, protocol, from)
    }

    fn enter(&self, room: &Room, protocol: u8, from: SocketAddr) -> Option<Place> {
        let found = self.askers.find(protocol, from).and_then(|asker| {
            let first = asker.as_ref().map_or(Ok(NOBODY), |asker| self.first(asker))?;
            Ok((asker, first))
        });
        let (asker, first) = match found {
            Ok(found) => found,
            Err(failure) => {
                error!(%failure, "who asks for a name is unknown");
                return None;
            }
        };
        let share = room.shares.take(first);
        let crowds = share.is_none();
        let place = share.and_then(|share| {
            let place = Arc::clone(&room.all).try_acquire_owned().ok()?;
            Some(Place { _share: share, _place: place })
        });
        if place.is_none() {
            self.refused.inc();
        }
        if let Some(asker) = asker.filter(|_| crowds) {
            self.tell(first, asker);
        }
        place
    }

    fn first(&self, asker: &Asker) -> Result<u64, ReadError> {
        let mut known = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = known.get(&asker.generation) {
            return Ok(*first);
        }
        let first = self.askers.first(asker)?;
        if known.len() >= RUNS {
            known.clear();
        }
        known.insert(asker.generation, first);
        Ok(first)
    }

    /// Has it recorded once, as soon as the supervisor has room for that.
    fn tell(&self, first: u64, asker: Asker) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&first) && self.requests.try_send(Request::Crowds(asker)).is_ok() {
            if told.len() >= RUNS {
                told.clear();
            }
            told.insert(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_holds_up_no_other() {
        const EACH: u32 = 3;
        let shares = Shares::new(EACH);
        let (one, other) = (1, 2);
        let turns: Vec<_> = (0..EACH).map(|_| shares.take(one).unwrap()).collect();
        assert!(shares.take(one).is_none());
        assert!(shares.take(other).is_some());
        drop(turns);
        assert!(shares.take(one).is_some());
        assert!(
            shares.taken.lock().unwrap().is_empty(),
            "nothing is kept of runs that ask nothing"
        );
    }
}
