//! Who is talked to, and who makes room where there are too many.
//!
//! A connection costs whoever makes it nothing before something is asked on it. So one that says nothing takes no place from
//! one that may: where a bound is reached, the oldest that has not asked a whole question yet is closed for the new one. What
//! has been asked is answered, and never closed for another.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::{AbortHandle, Id};

use super::long::LongAnswer;
use crate::supervisor::command::Caller;

/// Most connections at once; of those most that others than operators have; and of those most that one user has.
const CONNECTIONS: usize = 320;
const COMMON: usize = 256;
pub const PER_USER: usize = 64;

/// Whom a connection is with, for as long as it lasts.
#[derive(Debug)]
pub struct Visitor {
    pub caller: Arc<Caller>,
    asked: Asked,
    answer: OnceLock<LongAnswer>,
}

/// Whether a whole question has come.
type Asked = Arc<AtomicBool>;

impl Visitor {
    pub fn new(caller: Caller) -> Self {
        Self { caller: Arc::new(caller), asked: Asked::default(), answer: OnceLock::new() }
    }

    /// What is answered counts as long as this is here: a connection ends when all of its answer has been taken.
    pub fn keep(&self, answer: LongAnswer) {
        self.answer.get_or_init(|| answer);
    }

    /// Its head and its body were read. All of this is done by one thread, which closes no connection meanwhile.
    pub fn asks(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

struct Place {
    uid: u32,
    operator: bool,
    asked: Asked,
    talk: AbortHandle,
}

impl Place {
    fn is_silent(&self) -> bool {
        !self.asked.load(Ordering::Relaxed)
    }
}

/// All connections, the oldest first.
#[derive(Default)]
pub struct Places {
    held: Vec<Place>,
}

impl Places {
    /// Whether there is room, or can be made for somebody.
    pub fn are_to_be_had(&self) -> bool {
        self.held.len() < CONNECTIONS || self.held.iter().any(Place::is_silent)
    }

    /// Whether there is room for one more of this caller's, once others have made it.
    pub fn make_room(&mut self, caller: &Caller) -> bool {
        self.make_room_for(caller.uid, caller.operator)
    }

    pub(super) fn make_room_for(&mut self, uid: u32, operator: bool) -> bool {
        let common = |place: &Place| !place.operator;
        let own = |place: &Place| common(place) && place.uid == uid;
        (operator || self.hold_at_most(PER_USER, own) && self.hold_at_most(COMMON, common))
            && self.hold_at_most(CONNECTIONS, |_| true)
    }

    pub fn take(&mut self, visitor: &Visitor, talk: AbortHandle) {
        let Visitor { caller, asked, .. } = visitor;
        let (uid, operator, asked) = (caller.uid, caller.operator, Arc::clone(asked));
        self.held.push(Place { uid, operator, asked, talk });
    }

    /// A connection is over.
    pub fn leave(&mut self, talk: Id) {
        self.held.retain(|place| place.talk.id() != talk);
    }

    /// Whether there are fewer of these, once one has been closed where there are not.
    fn hold_at_most(&mut self, most: usize, which: impl Fn(&Place) -> bool) -> bool {
        self.held.iter().filter(|place| which(place)).count() < most || self.close_one(which)
    }

    /// Closes the oldest silent one of the user who has the most of them.
    fn close_one(&mut self, which: impl Fn(&Place) -> bool) -> bool {
        let mut users: HashMap<u32, (usize, Reverse<usize>)> = HashMap::new();
        let silent = self.held.iter().enumerate().filter(|(_, it)| which(it) && it.is_silent());
        for (index, place) in silent {
            users.entry(place.uid).or_insert((0, Reverse(index))).0 += 1;
        }
        let Some((_, Reverse(oldest))) = users.into_values().max() else { return false };
        self.held.remove(oldest).talk.abort();
        true
    }
}

#[cfg(test)]
impl Places {
    pub(super) fn take_as(&mut self, uid: u32, operator: bool, talk: AbortHandle) -> Asked {
        let asked = Asked::default();
        self.held.push(Place { uid, operator, asked: Arc::clone(&asked), talk });
        asked
    }

    pub(super) fn users(&self) -> std::collections::BTreeMap<u32, usize> {
        let mut users = std::collections::BTreeMap::new();
        self.held.iter().for_each(|place| *users.entry(place.uid).or_default() += 1);
        users
    }
}
