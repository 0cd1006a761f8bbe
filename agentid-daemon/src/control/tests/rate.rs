//! How often one user may ask.

use std::time::{Duration, Instant};

use super::super::{
    places::Role::{Operator, Run, User},
    rate::{BURST, EACH, Rates},
};

#[test]
fn a_user_has_a_burst_and_then_what_time_gives_back() {
    let (mut rates, now) = (Rates::default(), Instant::now());
    for _ in 0..BURST {
        assert_eq!(rates.take(1000, User, now), Ok(()));
    }
    assert_eq!(rates.take(1000, User, now), Err(EACH));
    assert_eq!(rates.take(1001, User, now), Ok(()), "another user has its own");
    assert_eq!(rates.take(1000, User, now + EACH), Ok(()));
    assert!(rates.take(1000, User, now + EACH).is_err());
    // A refusal costs nothing.
    let later = now + EACH * (BURST + 1);
    for _ in 0..BURST {
        assert_eq!(rates.take(1000, User, later), Ok(()));
    }
    assert!(rates.take(1000, User, later).is_err());
}

#[test]
fn a_thousand_issuances_a_minute_are_never_too_often() {
    let (mut rates, now) = (Rates::default(), Instant::now());
    // Each launch may ask for three things: itself, a look and an end.
    for number in 0..3000 {
        assert_eq!(rates.take(1000, User, now + Duration::from_millis(20) * number), Ok(()));
    }
}

#[test]
fn users_who_have_all_of_their_requests_again_are_forgotten() {
    let (mut rates, now) = (Rates::default(), Instant::now());
    for uid in 0..100_000 {
        assert_eq!(rates.take(uid, User, now + Duration::from_millis(1) * uid), Ok(()));
    }
    assert!(rates.remembered() <= 1024, "{}", rates.remembered());
}

#[test]
fn runs_take_no_request_of_their_users_and_have_a_bound_whoever_that_is() {
    let (mut rates, now) = (Rates::default(), Instant::now());
    for uid in [0, 1000] {
        for _ in 0..BURST {
            assert_eq!(rates.take(uid, Run, now), Ok(()), "uid {uid}");
        }
        assert!(rates.take(uid, Run, now).is_err(), "uid {uid}");
    }
    assert_eq!(rates.take(1000, User, now), Ok(()));
    for _ in 0..2 * BURST {
        assert_eq!(rates.take(0, Operator, now), Ok(()));
    }
}
