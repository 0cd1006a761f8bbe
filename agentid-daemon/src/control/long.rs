//! Answers that may be long: each is in memory as a whole until it has been taken, so there are few of them at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::api::{Code, ErrorReply, SelectRequest};
use crate::supervisor::command::{Caller, Command};

/// Most at once for one user, and for all users together; operators are not counted.
pub const PER_USER: usize = 2;
pub const COMMON: usize = 8;
/// After how many seconds who is refused may ask again.
pub const WAIT: u64 = 1;

/// How many there are of each user.
#[derive(Clone, Debug, Default)]
pub struct LongAnswers(Arc<Mutex<HashMap<u32, usize>>>);

/// One of them, until its connection is over.
#[derive(Debug)]
pub struct LongAnswer {
    all: LongAnswers,
    uid: u32,
}

impl LongAnswers {
    /// One more, if what is asked may be answered at length.
    pub fn begin(
        &self,
        caller: &Caller,
        command: &Command,
    ) -> Result<Option<LongAnswer>, ErrorReply> {
        if caller.operator || !is_long(command) {
            return Ok(None);
        }
        let mut users = self.users();
        let (own, all) = (users.get(&caller.uid).copied(), users.values().sum::<usize>());
        if own.unwrap_or(0) >= PER_USER || all >= COMMON {
            return Err(ErrorReply::new(
                Code::TooMany,
                "lists of ended runs, or of runs with all that is known of them, are being answered already",
                format!(
                    "ask again in {WAIT}s, when those have been read; or leave out what has ended"
                ),
            ));
        }
        *users.entry(caller.uid).or_default() += 1;
        Ok(Some(LongAnswer { all: self.clone(), uid: caller.uid }))
    }

    fn users(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // Nothing that holds it can stop between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LongAnswer {
    fn drop(&mut self) {
        let mut users = self.all.users();
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// Whether it lists more than lives, or more than a line of each.
fn is_long(command: &Command) -> bool {
    match command {
        Command::List { all, .. } => *all,
        Command::Select { request: SelectRequest { ended, whole, .. }, .. } => *ended || *whole,
        _ => false,
    }
}
