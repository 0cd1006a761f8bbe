//! How often one user may ask, whatever its processes. What belongs to its runs has requests of its own, so that no run keeps
//! its user from asking.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use axum::{
    http::header::RETRY_AFTER,
    response::{IntoResponse as _, Response},
};

use super::{
    api::{Code, ErrorReply},
    body::failure,
    places::Role,
};

/// How many requests a user may have made at once, and how soon each may be made again.
pub const BURST: u32 = 400;
pub const EACH: Duration = Duration::from_millis(10);
/// So many users are remembered before those are forgotten who have all of their requests again.
const REMEMBERED: usize = 1024;

/// Users who have asked of late, each with when it will have all of its requests again.
///
/// A request is one [`EACH`] more until then, so that one moment is all that needs to be known of a user, and nobody needs
/// to be known whose moment has passed.
#[derive(Debug, Default)]
pub struct Rates {
    full_at: HashMap<(u32, bool), Instant>,
}

impl Rates {
    /// Counts a request, or says how long the caller must wait. Operators ask as often as they like; their runs do not.
    pub fn take(&mut self, uid: u32, role: Role, now: Instant) -> Result<(), Duration> {
        if role == Role::Operator {
            return Ok(());
        }
        if self.full_at.len() >= REMEMBERED {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let full_at = self.full_at.entry((uid, role == Role::Run)).or_insert(now);
        let after = (*full_at).max(now) + EACH;
        let wait = (after - now).saturating_sub(EACH * BURST);
        if wait.is_zero() {
            *full_at = after;
            Ok(())
        } else {
            Err(wait)
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.full_at.len()
    }
}

/// What is answered to whom asks too often.
pub fn refusal(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let error = ErrorReply::new(
        Code::TooOften,
        "this user has asked too often of late",
        format!("ask again in {seconds}s, and then no more often than 100 times a second"),
    );
    ([(RETRY_AFTER, seconds.to_string())], failure(error)).into_response()
}

/// Whether this ends or holds runs, which is done however often it is asked: it may be a run that asks too often, which has the
/// same user as whoever is to end it.
pub fn ends_runs(path: &str) -> bool {
    let of_one = path.strip_prefix("/v1/runs/").is_some_and(|rest| rest.ends_with("/revoke"));
    of_one || matches!(path, "/v1/revoke" | "/v1/suspend" | "/v1/self/end")
}
