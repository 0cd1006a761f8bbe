//! How many looks at processes are under way, and for whom.
//!
//! A process can keep the kernel from telling about it, by a filesystem of its own that answers nobody; the thread that asks
//! hangs for as long. No user may take all the threads, nor have the daemon wait for one such process after the other.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Looks under way at the processes of one user, of all users, and of operators.
const MOST_OF_ONE: usize = 2;
const MOST: usize = 32;
const MOST_OF_OPERATORS: usize = 4;
/// After so many that took too long no other process of the same user is looked at for so long.
const MOST_LATE: u32 = 2;
const RESPITE: Duration = Duration::from_secs(60);
/// How long the answer is waited for. Of users it is half of that for each that was late within that time, whoever they are: one
/// who has many users at his disposal must not have the daemon wait again and again.
const PATIENCE: Duration = Duration::from_secs(2);
const LEAST: Duration = Duration::from_millis(20);

static LOOKS: Mutex<Looks> = Mutex::new(Looks::new());

/// Why nobody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error(
        "two processes of this user have kept the kernel from telling about them within a minute"
    )]
    Late,
    #[error("two processes of this user keep the kernel from telling about them")]
    Own,
    #[error("too many processes keep the kernel from telling about them")]
    All,
}

#[derive(Debug)]
struct Looks {
    /// By user; nobody for operators.
    under_way: BTreeMap<Option<u32>, usize>,
    /// How many were late, and when the last was.
    late: BTreeMap<u32, (u32, Instant)>,
}

/// A look that is under way until this is dropped.
#[derive(Debug)]
pub struct Look(Option<u32>);

impl Look {
    /// For a process of this user; nobody for an operator's.
    pub fn begin(user: Option<u32>) -> Result<Self, Busy> {
        looks().begin(user, Instant::now()).map(|()| Self(user))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        looks().end(self.0);
    }
}

/// How long a process of this user is waited for.
pub fn patience(user: Option<u32>) -> Duration {
    looks().patience(user, Instant::now())
}

/// A look at a process of this user takes too long.
pub fn is_late(user: Option<u32>) {
    if let Some(user) = user {
        looks().is_late(user, Instant::now());
    }
}

fn looks() -> MutexGuard<'static, Looks> {
    LOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looks {
    const fn new() -> Self {
        Self { under_way: BTreeMap::new(), late: BTreeMap::new() }
    }

    fn patience(&mut self, user: Option<u32>, now: Instant) -> Duration {
        self.forget(now);
        let late = user.map_or(0, |_| self.late.values().map(|(times, _)| times).sum::<u32>());
        (PATIENCE / 2_u32.saturating_pow(late)).max(LEAST)
    }

    fn forget(&mut self, now: Instant) {
        self.late.retain(|_, (_, since)| now.saturating_duration_since(*since) < RESPITE);
    }

    fn begin(&mut self, user: Option<u32>, now: Instant) -> Result<(), Busy> {
        self.forget(now);
        if let Some(user) = user {
            if self.late.get(&user).is_some_and(|(times, _)| *times >= MOST_LATE) {
                return Err(Busy::Late);
            }
            let users = self.under_way.iter().filter(|(user, _)| user.is_some());
            if users.map(|(_, count)| count).sum::<usize>() >= MOST {
                return Err(Busy::All);
            }
        }
        let most = if user.is_some() { MOST_OF_ONE } else { MOST_OF_OPERATORS };
        let count = self.under_way.entry(user).or_default();
        if *count >= most {
            return Err(Busy::Own);
        }
        *count += 1;
        Ok(())
    }

    fn end(&mut self, user: Option<u32>) {
        if let Some(count) = self.under_way.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&user);
            }
        }
    }

    fn is_late(&mut self, user: u32, now: Instant) {
        let (times, since) = self.late.entry(user).or_insert((0, now));
        (*times, *since) = (*times + 1, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_hang_take_no_more_than_their_users_part() {
        let (mut looks, begun) = (Looks::new(), Instant::now());
        for minute in 0..10 {
            let now = begun + RESPITE * minute;
            let granted = [(); 3].map(|()| looks.begin(Some(7), now));
            // Those of the first minute hang for ever.
            let expected =
                if minute == 0 { [Ok(()), Ok(()), Err(Busy::Own)] } else { [Err(Busy::Own); 3] };
            assert_eq!(granted, expected, "minute {minute}");
            assert_eq!(looks.begin(Some(8), now), Ok(()));
            looks.end(Some(8));
        }
        looks.end(Some(7));
        assert_eq!(looks.begin(Some(7), begun), Ok(()));
    }

    #[test]
    fn operators_are_looked_at_whatever_all_others_do() {
        let (mut looks, now) = (Looks::new(), Instant::now());
        for user in 0..16 {
            assert_eq!([(); 2].map(|()| looks.begin(Some(user), now)), [Ok(()), Ok(())]);
        }
        assert_eq!(looks.begin(Some(99), now), Err(Busy::All));
        assert_eq!(looks.begin(None, now), Ok(()));
    }

    #[test]
    fn whoever_was_late_twice_waits() {
        let (mut looks, begun) = (Looks::new(), Instant::now());
        looks.is_late(7, begun);
        assert_eq!(looks.begin(Some(7), begun), Ok(()));
        looks.is_late(7, begun);
        assert_eq!(looks.begin(Some(7), begun), Err(Busy::Late));
        assert_eq!(looks.begin(Some(8), begun), Ok(()));
        assert_eq!(looks.begin(Some(7), begun + RESPITE), Ok(()));
    }

    #[test]
    fn who_is_late_is_waited_for_less_and_less_whoever_it_is() {
        let (mut looks, begun) = (Looks::new(), Instant::now());
        assert_eq!(looks.patience(Some(7), begun), PATIENCE);
        looks.is_late(7, begun);
        assert_eq!(looks.patience(Some(8), begun), PATIENCE / 2);
        (100..1000).for_each(|user| looks.is_late(user, begun));
        assert_eq!(looks.patience(Some(8), begun), LEAST);
        assert_eq!(looks.patience(None, begun), PATIENCE);
        assert_eq!(looks.patience(Some(8), begun + RESPITE), PATIENCE);
    }
}
