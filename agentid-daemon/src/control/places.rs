//! Who is talked to, and who makes room where there are too many.
//!
//! A connection costs whoever makes it nothing before something is asked on it. So one that says nothing takes no place from
//! one that may: where a bound is reached, the oldest that has not asked a whole question yet is closed for the new one. What
//! has been asked is answered. An answer that nobody takes makes room as well, or a run could leave so many of them that its
//! own user has no place to end it from; in that time nobody can ask often enough to have a new one for each that is closed.
//! And what is asked by runs, whose user is the one who is to end them, takes none of his places at all.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::{AbortHandle, Id};
use tracing::warn;

use super::long::Part;
use crate::supervisor::command::Caller;

/// Most connections at once; of those most that users have who are no operators, and most that one has.
const CONNECTIONS: usize = 448;
pub const COMMON: usize = 256;
pub const PER_USER: usize = 64;
/// Likewise of runs, whoever their user is.
const OF_RUNS: usize = 128;
pub const RUNS_PER_USER: usize = 32;

/// How long an answer waits at least to be taken before it makes room.
pub const TAKEN_SOON: Duration = Duration::from_millis(200);

const A_SECOND: Duration = Duration::from_secs(1);

/// With whom a connection shares its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    /// Something that belongs to a run, also of an operator.
    Run,
    Operator,
}

impl Role {
    pub const fn of(caller: &Caller, is_run: bool) -> Self {
        match (is_run, caller.operator) {
            (true, _) => Self::Run,
            (false, true) => Self::Operator,
            (false, false) => Self::User,
        }
    }
}

/// Whom a connection is with, for as long as it lasts.
#[derive(Debug)]
pub struct Visitor {
    pub caller: Arc<Caller>,
    role: Role,
    state: Arc<State>,
    parts: Mutex<Vec<Part>>,
}

/// How far a conversation is.
#[derive(Debug, Default)]
pub struct State {
    /// Whether a whole question has come.
    pub(super) asked: AtomicBool,
    /// When the whole answer was there to be taken. One without an end never is.
    pub(super) answered: OnceLock<Instant>,
}

impl Visitor {
    pub fn new(caller: Caller, role: Role) -> Self {
        Self { caller: Arc::new(caller), role, state: Arc::default(), parts: Mutex::default() }
    }

    /// What is answered counts as long as this is here: a connection ends when all of its answer has been taken.
    pub fn keep(&self, part: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether bounds of users hold for it.
    pub fn is_user(&self) -> bool {
        self.role == Role::User
    }

    /// Its head and its body were read. All of this is done by one thread, which closes no connection meanwhile.
    pub fn asks(&self) {
        self.state.asked.store(true, Ordering::Relaxed);
    }

    /// Its answer is there to be taken.
    pub fn is_answered(&self) {
        self.state.answered.get_or_init(Instant::now);
    }
}

struct Place {
    uid: u32,
    role: Role,
    state: Arc<State>,
    talk: AbortHandle,
}

impl Place {
    fn is_silent(&self) -> bool {
        !self.state.asked.load(Ordering::Relaxed)
    }

    /// Whether its answer waits for somebody to take it.
    fn is_left(&self) -> bool {
        self.state.answered.get().is_some_and(|since| since.elapsed() >= TAKEN_SOON)
    }
}

/// All connections, the oldest first.
#[derive(Default)]
pub struct Places {
    held: Vec<Place>,
    /// Connections that were refused since that was last said, and when it was.
    refused: u64,
    said: Option<Instant>,
}

impl Places {
    /// Whether there is room, or can be made for somebody.
    pub fn are_to_be_had(&self) -> bool {
        self.held.len() < CONNECTIONS
            || self.held.iter().any(|place| place.is_silent() || place.is_left())
    }

    /// Whether there is room for one more of this caller's, once others have made it.
    pub fn make_room(&mut self, caller: &Caller, role: Role) -> bool {
        self.make_room_for(caller.account, role)
    }

    pub(super) fn make_room_for(&mut self, uid: u32, role: Role) -> bool {
        let alike = |place: &Place| place.role == role;
        let own = |place: &Place| alike(place) && place.uid == uid;
        let bounds = match role {
            Role::User => Some((PER_USER, COMMON)),
            Role::Run => Some((RUNS_PER_USER, OF_RUNS)),
            Role::Operator => None,
        };
        bounds
            .is_none_or(|(each, all)| self.hold_at_most(each, own) && self.hold_at_most(all, alike))
            && self.hold_at_most(CONNECTIONS, |_| true)
    }

    pub fn take(&mut self, visitor: &Visitor, talk: AbortHandle) {
        let &Visitor { ref caller, role, ref state, .. } = visitor;
        self.held.push(Place { uid: caller.account, role, state: Arc::clone(state), talk });
    }

    /// There was no room for one. Who tries as fast as he can must not fill the log with it.
    pub fn refuse(&mut self, uid: u32) {
        self.refused += 1;
        if self.said.is_none_or(|said| said.elapsed() >= A_SECOND) {
            warn!(uid, refused = self.refused, "too many connections");
            (self.refused, self.said) = (0, Some(Instant::now()));
        }
    }

    /// A connection is over.
    pub fn leave(&mut self, talk: Id) {
        self.held.retain(|place| place.talk.id() != talk);
    }

    /// Whether there are fewer of these, once one has been closed where there are not.
    fn hold_at_most(&mut self, most: usize, which: impl Fn(&Place) -> bool) -> bool {
        self.held.iter().filter(|place| which(place)).count() < most
            || self.close_one(|place| which(place) && place.is_silent())
            || self.close_one(|place| which(place) && place.is_left())
    }

    /// Closes the oldest of these, of the user who has the most of them.
    fn close_one(&mut self, which: impl Fn(&Place) -> bool) -> bool {
        let mut users: HashMap<u32, (usize, Reverse<usize>)> = HashMap::new();
        for (index, place) in self.held.iter().enumerate().filter(|(_, place)| which(place)) {
            users.entry(place.uid).or_insert((0, Reverse(index))).0 += 1;
        }
        let Some((_, Reverse(oldest))) = users.into_values().max() else { return false };
        self.held.remove(oldest).talk.abort();
        true
    }
}

#[cfg(test)]
impl Places {
    pub(super) fn take_as(&mut self, uid: u32, role: Role, talk: AbortHandle) -> Arc<State> {
        let state = Arc::<State>::default();
        self.held.push(Place { uid, role, state: Arc::clone(&state), talk });
        state
    }

    pub(super) fn users(&self) -> std::collections::BTreeMap<u32, usize> {
        let mut users = std::collections::BTreeMap::new();
        self.held.iter().for_each(|place| *users.entry(place.uid).or_default() += 1);
        users
    }
}
