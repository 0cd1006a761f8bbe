//! Numbers of events: each is larger than all before it, on this host and for good.
//!
//! A number is a time and no count: microseconds since the daemon began, on top of where the numbers of the daemons before it
//! may have reached, and at least one more than the last. A count would tell whoever sees few of the events how many others
//! see. That one took place between two of his is in no number; only events of one and the same microsecond push each other.
//!
//! A clock of the host is asked once, for where to begin, and need not be right: the state folder has a number that none given
//! before exceeds, and where it has none, most likely the clock still does.

use std::time::Instant;

/// Largest number, which every reader of JSON can hold. As microseconds since 1970 it is the year 2255.
pub const MOST: u64 = (1 << 53) - 1;

/// A number for this moment, in milliseconds since 1970; 0 when the clock is so far ahead that it must be wrong.
pub fn of_clock(wall_ms: u64) -> u64 {
    let number = wall_ms.saturating_mul(1000);
    if number <= MOST / 2 { number } else { 0 }
}

/// Gives numbers.
#[derive(Debug)]
pub struct Numbers {
    start: u64,
    last: u64,
    began: Instant,
}

impl Numbers {
    /// Numbers above `start`, which exceeds all that were ever given.
    pub fn above(start: u64) -> Self {
        Self { start, last: start, began: Instant::now() }
    }

    /// What all numbers of earlier daemons are at most, and all of this one exceed.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The next number. Whatever is numbered later has a larger one.
    pub fn take(&mut self) -> u64 {
        let since = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last = self.start.saturating_add(since).max(self.last + 1);
        self.last
    }
}
