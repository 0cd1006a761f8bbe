//! Answers that are in memory until they have been taken, and streams that go on: of each a user has no more than his part, so
//! that there is something left for others, and the daemon needs no more memory than it has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::response::Response;
use hyper::body::Body as _;

use super::{
    api::{Code, ErrorReply, SelectRequest},
    body::failure,
    places::{self, Visitor},
};
use crate::supervisor::command::{Command, EventsQuery};

/// Most lists of what has ended at once, for one user and for all together. Operators are not counted in any of these, and neither
/// are runs, which may have nothing of all this: they would take it from their users.
pub const PER_USER: usize = 2;
pub const COMMON: usize = 8;
/// Most bytes of answers that wait to be taken, likewise.
const BYTES_PER_USER: usize = 16 << 20;
const BYTES: usize = 64 << 20;
/// An answer of no more bytes is not counted: all connections together have room for that.
const SHORT: usize = 64 << 10;
/// Most streams that go on, which leaves places for questions, also where somebody has many users.
pub const STREAMS: usize = places::COMMON / 2;
/// After how many seconds who is refused may ask again.
pub const WAIT: u64 = 1;

/// Something that is shared out.
#[derive(Clone, Debug)]
struct Share {
    /// How much each user has.
    users: Arc<Mutex<HashMap<u32, usize>>>,
    per_user: usize,
    common: usize,
}

/// Some of it, until this is dropped.
#[derive(Debug)]
pub struct Part {
    of: Share,
    uid: u32,
    amount: usize,
}

impl Share {
    fn new(per_user: usize, common: usize) -> Self {
        Self { users: Arc::default(), per_user, common }
    }

    /// What is more than there is at all is given to whoever is the only one.
    fn take(&self, uid: u32, amount: usize) -> Option<Part> {
        // Nothing that holds it can stop between two changes that belong together.
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |taken: usize, most| taken == 0 || taken.saturating_add(amount) <= most;
        let own = users.get(&uid).copied().unwrap_or_default();
        if !fits(own, self.per_user) || !fits(users.values().sum(), self.common) {
            return None;
        }
        users.insert(uid, own.saturating_add(amount));
        Some(Part { of: self.clone(), uid, amount })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut users = self.of.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = users.get_mut(&self.uid) {
            *taken = taken.saturating_sub(self.amount);
            if *taken == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// All that there is of them.
#[derive(Clone, Debug)]
pub struct LongAnswers {
    lists: Share,
    bytes: Share,
    streams: Share,
}

impl Default for LongAnswers {
    fn default() -> Self {
        Self {
            lists: Share::new(PER_USER, COMMON),
            bytes: Share::new(BYTES_PER_USER, BYTES),
            streams: Share::new(STREAMS, STREAMS),
        }
    }
}

impl LongAnswers {
    /// What is needed to answer this, for as long as the connection lasts.
    pub fn begin(&self, visitor: &Visitor, command: &Command) -> Result<Option<Part>, ErrorReply> {
        let (share, full) = match command {
            _ if !visitor.is_user() => return Ok(None),
            Command::List { all: true, .. } => (&self.lists, many_lists as fn() -> ErrorReply),
            Command::Select { request: SelectRequest { ended, whole, .. }, .. }
                if *ended || *whole =>
            {
                (&self.lists, many_lists as _)
            }
            Command::Events { query: EventsQuery { follow: true, .. }, .. } => {
                (&self.streams, many_streams as _)
            }
            _ => return Ok(None),
        };
        share.take(visitor.caller.account, 1).map(Some).ok_or_else(full)
    }

    /// An answer that changes nothing, if there is room for it.
    pub fn weigh(&self, visitor: &Visitor, answer: Response) -> Response {
        // A stream has no length; what waits for its reader is bounded.
        let length = answer.body().size_hint().exact().unwrap_or(0);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !visitor.is_user() || length <= SHORT {
            return answer;
        }
        match self.bytes.take(visitor.caller.account, length) {
            Some(part) => {
                visitor.keep(part);
                answer
            }
            None => failure(many_bytes(length)),
        }
    }
}

fn many_lists() -> ErrorReply {
    ErrorReply::new(
        Code::TooMany,
        "lists of ended runs, or of runs with all that is known of them, are being answered already",
        format!("ask again in {WAIT}s, when those have been read; or leave out what has ended"),
    )
}

fn many_bytes(length: usize) -> ErrorReply {
    ErrorReply::new(
        Code::TooMany,
        format!("answers wait to be read that leave no room for this one, of {length} bytes"),
        format!("ask again in {WAIT}s, when those have been read; or ask about fewer runs"),
    )
}

fn many_streams() -> ErrorReply {
    let remedy = "end some that follow them, such as agentid events --follow, and try again";
    ErrorReply::new(Code::Full, "too many follow the events", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_his_part_and_all_no_more_than_there_is() {
        let share = Share::new(10, 25);
        let first = share.take(1, 6).unwrap();
        assert!(share.take(1, 5).is_none(), "his part");
        let others = [share.take(2, 10).unwrap(), share.take(3, 9).unwrap()];
        assert!(share.take(4, 1).is_none(), "all of it");
        drop(first);
        assert!(share.take(1, 5).is_some());
        drop(others);
        assert!(share.users.lock().unwrap().is_empty());
    }

    #[test]
    fn what_is_more_than_all_is_for_one_alone() {
        let share = Share::new(10, 25);
        let whole = share.take(1, 100).unwrap();
        assert!(share.take(1, 1).is_none() && share.take(2, 1).is_none());
        drop(whole);
        let some = share.take(2, 1).unwrap();
        assert!(share.take(1, 100).is_none());
        drop(some);
        assert!(share.take(1, 100).is_some());
    }
}
