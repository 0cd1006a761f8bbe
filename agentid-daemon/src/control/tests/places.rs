//! Who makes room for whom.

use std::{
    collections::BTreeMap,
    future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::super::places::{
    PER_USER, Places, RUNS_PER_USER,
    Role::{self, Operator, Run, User},
    State,
};

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
    fn come(&mut self, uid: u32, role: Role, count: usize, ask: bool) {
        for _ in 0..count {
            assert!(self.places.make_room_for(uid, role), "uid {uid}");
            let talk = self.talks.spawn(future::pending());
            *self.came.entry(uid).or_default() += 1;
            let state = self.places.take_as(uid, role, talk);
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

    fn refuse(&mut self, uid: u32, role: Role) -> bool {
        !self.places.make_room_for(uid, role)
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
    guests.come(1000, User, PER_USER, false);
    guests.come(1001, User, 10, false);
    assert_eq!(guests.closed(), [].into());
    guests.come(1000, User, 5, false);
    assert_eq!(guests.closed(), [(1000, 5)].into());
    guests.come(1001, User, PER_USER - 10, true);
    assert_eq!(guests.closed(), [(1000, 5)].into(), "nothing of 1001's");
}

#[tokio::test]
async fn answers_that_nobody_takes_make_room() {
    let mut guests = Guests::default();
    guests.come(1000, User, PER_USER, true);
    guests.leave_answers(Duration::from_millis(10));
    assert!(guests.refuse(1000, User), "they may be taken yet");
    let mut guests = Guests::default();
    guests.come(1001, User, 1, true);
    guests.come(1000, User, PER_USER, true);
    guests.leave_answers(Duration::from_secs(1));
    guests.come(1000, User, 2, false);
    assert_eq!(guests.closed(), [(1000, 2)].into(), "only its user's");
}

#[tokio::test]
async fn runs_take_no_place_of_their_users() {
    let mut guests = Guests::default();
    for uid in [0, 1000] {
        guests.come(uid, Run, RUNS_PER_USER, true);
        assert!(guests.refuse(uid, Run), "uid {uid}");
    }
    guests.come(1000, User, PER_USER, true);
    guests.come(0, Operator, PER_USER, true);
    assert_eq!(guests.closed(), [].into());
    // Those of many users leave the users' places alone as well.
    for uid in 2000..2002 {
        guests.come(uid, Run, RUNS_PER_USER, true);
    }
    assert!(guests.refuse(2002, Run));
    guests.come(2002, User, 1, true);
    assert_eq!(guests.closed(), [].into());
}

#[tokio::test]
async fn what_has_been_asked_is_not_closed_for_another() {
    let mut guests = Guests::default();
    guests.come(1000, User, PER_USER, true);
    assert!(guests.refuse(1000, User));
    guests.come(1001, User, 1, false);
    guests.come(1000, Operator, 1, false);
    assert!(guests.refuse(1000, User), "an operator's makes no room for others");
    assert_eq!(guests.closed(), [].into());
}

#[tokio::test]
async fn users_with_many_silent_connections_make_room_for_one_with_few() {
    let mut guests = Guests::default();
    for uid in [2000, 2001, 2002] {
        guests.come(uid, User, PER_USER, false);
    }
    guests.come(1000, User, PER_USER - 1, true);
    guests.come(1001, User, 1, false);
    guests.come(1002, User, 20, false);
    assert_eq!(guests.closed(), [(2000, 7), (2001, 7), (2002, 6)].into());
}

#[tokio::test]
async fn operators_have_room_that_others_do_not_take() {
    let mut guests = Guests::default();
    for uid in [2000, 2001, 2002, 2003] {
        guests.come(uid, User, PER_USER, true);
    }
    assert!(guests.refuse(1000, User));
    for uid in 3000..3004 {
        guests.come(uid, Run, RUNS_PER_USER, true);
    }
    guests.come(0, Operator, PER_USER - 1, true);
    guests.come(0, Operator, 1, false);
    assert_eq!(guests.closed(), [].into());
    assert!(guests.places.are_to_be_had());
    guests.come(0, Operator, 1, true);
    assert_eq!(guests.closed(), [(0, 1)].into());
    assert!(!guests.places.are_to_be_had() && guests.refuse(0, Operator));
}
