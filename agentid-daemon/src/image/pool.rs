//! Numbers from 1 on, the lowest free one first, so that equal histories give equal maps.

use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// Everything from here on is free.
    next: u32,
    /// Free numbers below `next`.
    free: BTreeSet<u32>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { next: 1, free: BTreeSet::new() }
    }

    /// A pool from which these numbers are taken already.
    pub(super) fn without(taken: impl Iterator<Item = u32>) -> Self {
        let taken: BTreeSet<u32> = taken.collect();
        let next = taken.last().map_or(1, |last| last + 1);
        Self { next, free: (1..next).filter(|number| !taken.contains(number)).collect() }
    }

    pub(super) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            let number = self.next;
            self.next += 1;
            number
        })
    }

    pub(super) fn give(&mut self, number: u32) {
        self.free.insert(number);
    }
}
