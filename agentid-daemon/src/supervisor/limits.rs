//! How many denials of a run lie within the last minute.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

/// The time that a limit is about, in nanoseconds.
const MINUTE: u64 = 60_000_000_000;

/// What the kernel had counted at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    at: u64,
    denied: u64,
}

/// The counts of the last minute, one for each look.
#[derive(Debug, Default)]
pub struct Denials {
    runs: BTreeMap<Uuid, VecDeque<Look>>,
}

impl Denials {
    /// Notes what the kernel has counted of a run by now. Gives how many denials have come within about a minute, as far as
    /// they are known of: a run that is seen for the first time counts from its launch on, where that is given, and one that
    /// was not looked at for a minute counts anew. Times are of the boot clock.
    pub fn note(&mut self, id: Uuid, launched: Option<u64>, now: u64, denied: u64) -> u64 {
        let first = launched.map_or(Look { at: now, denied }, |at| Look { at, denied: 0 });
        let looks = self.runs.entry(id).or_insert_with(|| VecDeque::from([first]));
        if looks.back().is_none_or(|last| now.saturating_sub(last.at) >= MINUTE) {
            *looks = VecDeque::from([Look { at: now, denied }]);
        }
        looks.push_back(Look { at: now, denied });
        // The last one that lies a minute back or more is where the minute begins.
        while looks.get(1).is_some_and(|look| now.saturating_sub(look.at) >= MINUTE) {
            looks.pop_front();
        }
        looks.front().map_or(0, |first| denied.saturating_sub(first.denied))
    }

    /// Counts from here on: what a run that is suspended is denied is not its own doing.
    pub fn begin_anew(&mut self, id: Uuid, now: u64, denied: u64) {
        self.runs.insert(id, VecDeque::from([Look { at: now, denied }]));
    }

    /// Forgets the others.
    pub fn retain(&mut self, which: impl Fn(Uuid) -> bool) {
        self.runs.retain(|id, _| which(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Uuid = Uuid::from_u128(7);
    const SECOND: u64 = 1_000_000_000;

    /// What is found when the kernel had counted so much after so many seconds.
    fn found(denials: &mut Denials, looks: &[(u64, u64)]) -> Vec<u64> {
        looks.iter().map(|&(at, denied)| denials.note(RUN, None, at * SECOND, denied)).collect()
    }

    #[test]
    fn a_run_is_counted_from_its_launch_on_where_that_was_seen() {
        let mut denials = Denials::default();
        assert_eq!(denials.note(RUN, Some(SECOND), 2 * SECOND, 5), 5);
        assert_eq!(found(&mut denials, &[(30, 5), (60, 7)]), [5, 7]);
        // Of another daemon's run it is not known when it was denied what.
        let mut denials = Denials::default();
        assert_eq!(found(&mut denials, &[(100, 50), (101, 53)]), [0, 3]);
    }

    #[test]
    fn what_lies_longer_back_than_a_minute_is_not_counted() {
        let mut denials = Denials::default();
        let looks: Vec<(u64, u64)> = (1..=200).map(|second| (second, second * 3)).collect();
        let found = found(&mut denials, &looks);
        assert_eq!(found.iter().max(), Some(&180));
        assert_eq!(denials.runs[&RUN].len(), 61);
    }

    #[test]
    fn a_run_that_nobody_has_looked_at_for_a_minute_counts_anew() {
        let mut denials = Denials::default();
        assert_eq!(found(&mut denials, &[(10, 0), (11, 4), (600, 90), (601, 92)]), [0, 4, 0, 2]);
    }

    #[test]
    fn a_suspension_is_not_counted() {
        let mut denials = Denials::default();
        assert_eq!(found(&mut denials, &[(1, 0), (2, 5)]), [0, 5]);
        denials.begin_anew(RUN, 3 * SECOND, 90);
        assert_eq!(found(&mut denials, &[(4, 91)]), [1]);
        denials.retain(|_| false);
        assert!(denials.runs.is_empty());
    }
}
