//! Who makes room for whom.

use std::{
    collections::BTreeMap,
    future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::super::places::{PER_USER, Places, State};

/// Connections that end when they are closed.
#[derive(Default)]
struct Guests {
    places: Places,
    talks: JoinSet<()>,
    came: BTreeMap<u32, usize>,
    states: Vec<Arc<State>>,
}

impl Guests {
    /// So many connections of a user, which are to be taken.
    fn come(&mut self, uid: u32, operator: bool, count: usize, ask: bool) {
        for _ in 0..count {
            assert!(self.places.make_room_for(uid, operator), "uid {uid}");
            let talk = self.talks.spawn(future::pending());
            *self.came.entry(uid).or_default() += 1;
            let state = self.places.take_as(uid, operator, talk);
            state.asked.store(ask, Ordering::Relaxed);
            self.states.push(state);
        }
    }

    /// The answers of all are there to be taken, for so long.
    fn leave_answers(&self, since: Duration) {
        let at = Instant::now().checked_sub(since).unwrap();
        for state in &self.states {
            state.answered.set(at).unwrap();
        }
    }

    fn refuse(&mut self, uid: u32, operator: bool) -> bool {
        !self.places.make_room_for(uid, operator)
    }

    /// How many of each user have been closed.
    fn closed(&self) -> BTreeMap<u32, usize> {
        let held = self.places.users();
        let lost = self.came.iter().map(|(uid, came)| (*uid, came - held[uid]));
        lost.filter(|(_, lost)| *lost > 0).collect()
    }
}

#[tokio::test]
async fn a_user_who_is_silent_makes_room_for_itself_alone() {
    let mut guests = Guests::default();
    guests.come(1000, false, PER_USER, false);
    guests.come(1001, false, 10, false);
    assert_eq!(guests.closed(), [].into());
    guests.come(1000, false, 5, false);
    assert_eq!(guests.closed(), [(1000, 5)].into());
    guests.come(1001, false, PER_USER - 10, true);
    assert_eq!(guests.closed(), [(1000, 5)].into(), "nothing of 1001's");
}

#[tokio::test]
async fn answers_that_nobody_takes_make_room() {
    let mut guests = Guests::default();
    guests.come(1000, false, PER_USER, true);
    guests.leave_answers(Duration::from_millis(10));
    assert!(guests.refuse(1000, false), "they may be taken yet");
    let mut guests = Guests::default();
    guests.come(1001, false, 1, true);
    guests.come(1000, false, PER_USER, true);
    guests.leave_answers(Duration::from_secs(1));
    guests.come(1000, false, 2, false);
    assert_eq!(guests.closed(), [(1000, 2)].into(), "only its user's");
}

#[tokio::test]
async fn what_has_been_asked_is_not_closed_for_another() {
    let mut guests = Guests::default();
    guests.come(1000, false, PER_USER, true);
    assert!(guests.refuse(1000, false));
    guests.come(1001, false, 1, false);
    guests.come(1000, true, 1, false);
    assert!(guests.refuse(1000, false), "an operator's makes no room for others");
    assert_eq!(guests.closed(), [].into());
}

#[tokio::test]
async fn users_with_many_silent_connections_make_room_for_one_with_few() {
    let mut guests = Guests::default();
    for uid in [2000, 2001, 2002] {
        guests.come(uid, false, PER_USER, false);
    }
    guests.come(1000, false, PER_USER - 1, true);
    guests.come(1001, false, 1, false);
    guests.come(1002, false, 20, false);
    assert_eq!(guests.closed(), [(2000, 7), (2001, 7), (2002, 6)].into());
}

#[tokio::test]
async fn operators_have_room_that_others_do_not_take() {
    let mut guests = Guests::default();
    for uid in [2000, 2001, 2002, 2003] {
        guests.come(uid, false, PER_USER, true);
    }
    assert!(guests.refuse(1000, false));
    guests.come(0, true, PER_USER - 1, true);
    guests.come(0, true, 1, false);
    assert_eq!(guests.closed(), [].into());
    assert!(guests.places.are_to_be_had());
    guests.come(0, true, 1, true);
    assert_eq!(guests.closed(), [(0, 1)].into());
    assert!(!guests.places.are_to_be_had() && guests.refuse(0, true));
}
