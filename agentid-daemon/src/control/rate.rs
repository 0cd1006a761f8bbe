//! How often one user may ask, whatever its processes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use axum::{Router, http::header::RETRY_AFTER, response::IntoResponse as _};

use super::{
    api::{Code, ErrorReply},
    body::failure,
};
use crate::supervisor::command::Caller;

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
    full_at: HashMap<u32, Instant>,
}

impl Rates {
    /// Counts a request, or says how long the caller must wait. Operators ask as often as they like.
    pub fn take(&mut self, caller: &Caller, now: Instant) -> Result<(), Duration> {
        if caller.operator { Ok(()) } else { self.take_one(caller.uid, now) }
    }

    pub(super) fn take_one(&mut self, uid: u32, now: Instant) -> Result<(), Duration> {
        if self.full_at.len() >= REMEMBERED {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let full_at = self.full_at.entry(uid).or_insert(now);
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

/// Refuses whatever is asked.
pub fn refusing(wait: Duration) -> Router {
    let seconds = wait.as_secs() + 1;
    let error = ErrorReply::new(Code::TooOften, "this user has asked too often of late")
        .remedy(format!("ask again in {seconds}s, and then no more often than 100 times a second"));
    Router::new().fallback(async move || {
        ([(RETRY_AFTER, seconds.to_string())], failure(error)).into_response()
    })
}
