//! Which addresses stand for which names, for which run, and until when.
//!
//! The kernel's tables are made from this. It is kept in memory alone: a daemon that is started again finds the addresses in
//! those tables, under the patterns that had granted their names. What has come to its time stays, for conversations that
//! stand, until the run ends or the room is needed.

use std::collections::BTreeMap;

use agentid_common::net::{Address, PINS_EACH, PeerKey, Pin, Pins};
use uuid::Uuid;

use crate::image::Hosts;

/// Most addresses of one run at a time.
pub const MOST: usize = 512;

/// A name and one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for last; after a restart of the daemon, the pattern of the policy that means it.
    pub name: String,
    /// Hash of the pattern, of which an address has one answer: all names of a pattern say the same.
    pub pattern: u64,
    /// In nanoseconds of `CLOCK_BOOTTIME`.
    pub until: u64,
}

/// All answers of all runs that hold a slot.
#[derive(Debug, Default)]
pub struct Pinned {
    runs: BTreeMap<Uuid, BTreeMap<Address, Vec<Answer>>>,
}

impl Pinned {
    /// Whether the run can have these addresses beside those that it has, after it has given up some that have come to their
    /// time; these are told.
    pub fn make_room(
        &mut self,
        run: Uuid,
        more: &[Address],
        now: u64,
    ) -> Result<Vec<Address>, Full> {
        let addresses = self.runs.entry(run).or_default();
        let new = more.iter().filter(|address| !addresses.contains_key(address)).count();
        let excess = (addresses.len() + new).saturating_sub(MOST);
        if excess == 0 {
            return Ok(Vec::new());
        }
        let last = |answers: &[Answer]| answers.iter().map(|it| it.until).max().unwrap_or(0);
        let mut past: Vec<(u64, Address)> = addresses
            .iter()
            .map(|(address, answers)| (last(answers), *address))
            .filter(|(until, address)| *until <= now && !more.contains(address))
            .collect();
        if past.len() < excess {
            return Err(Full);
        }
        past.sort_unstable();
        let past: Vec<Address> =
            past.into_iter().take(excess).map(|(_, address)| address).collect();
        for address in &past {
            addresses.remove(address);
        }
        Ok(past)
    }

    /// Notes an answer; whether the address has more of them now than the kernel's table holds, so that one gives way.
    pub fn add(&mut self, run: Uuid, address: Address, answer: Answer) -> bool {
        let answers = self.runs.entry(run).or_default().entry(address).or_default();
        match answers.iter_mut().find(|known| known.pattern == answer.pattern) {
            Some(known) => {
                known.until = known.until.max(answer.until);
                known.name = answer.name;
            }
            None => answers.push(answer),
        }
        answers.len() > PINS_EACH as usize
    }

    /// The answers of a run by address.
    pub fn of(&self, run: Uuid) -> impl Iterator<Item = (Address, &Answer)> {
        let addresses = self.runs.get(&run).into_iter().flatten();
        addresses.flat_map(|(address, answers)| answers.iter().map(|answer| (*address, answer)))
    }

    /// The addresses of a run.
    pub fn addresses(&self, run: Uuid) -> Vec<Address> {
        self.runs.get(&run).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// What the kernel's table has to say of an address under this key; nothing when no name stands for it.
    pub fn pins(&self, run: Uuid, key: PeerKey, hosts: &Hosts) -> Option<Pins> {
        let answers = self.runs.get(&run)?.get(&key.address)?;
        let mut pins: Vec<Pin> = answers
            .iter()
            .filter_map(|answer| {
                let class = hosts.by_pattern(answer.pattern)?.class;
                Some(Pin { until: answer.until, pattern: answer.pattern, class, reserved: 0 })
            })
            .collect();
        pins.sort_by_key(|pin| std::cmp::Reverse(pin.until));
        let mut list = Pins { key, ..Pins::default() };
        for (place, pin) in list.list.iter_mut().take(PINS_EACH as usize).zip(&pins) {
            *place = *pin;
        }
        (!pins.is_empty()).then_some(list)
    }

    /// Has the answers be those of other rules, and forgets what these do not grant.
    pub fn rebase(&mut self, run: Uuid, hosts: &Hosts) {
        let Some(addresses) = self.runs.get_mut(&run) else { return };
        for answers in addresses.values_mut() {
            answers.retain_mut(|answer| {
                // After a restart of the daemon what is known is a pattern.
                let rules = hosts.find(&answer.name).or_else(|| hosts.by_pattern(answer.pattern));
                let rules = rules.filter(|rules| rules.allows.is_some());
                if let Some(rules) = rules {
                    answer.pattern = rules.pattern;
                }
                rules.is_some()
            });
        }
        addresses.retain(|_, answers| !answers.is_empty());
    }

    /// Forgets a run, and says which addresses it had.
    pub fn forget(&mut self, run: Uuid) -> Vec<Address> {
        self.runs.remove(&run).into_iter().flat_map(BTreeMap::into_keys).collect()
    }
}

/// The run has as many addresses as one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Uuid = Uuid::from_u128(7);

    fn address(number: usize) -> Address {
        Address::v4(u32::try_from(number).unwrap().to_be_bytes())
    }

    fn answer(pattern: u64, until: u64) -> Answer {
        Answer { name: format!("n{pattern}.example"), pattern, until }
    }

    #[test]
    fn an_address_has_one_answer_of_each_pattern() {
        let mut pinned = Pinned::default();
        pinned.add(RUN, address(1), answer(1, 10));
        pinned.add(RUN, address(1), Answer { name: "other.example".into(), ..answer(1, 5) });
        pinned.add(RUN, address(1), answer(2, 20));
        let answers: Vec<_> = pinned.of(RUN).map(|(_, it)| (it.name.as_str(), it.until)).collect();
        assert_eq!(answers, [("other.example", 10), ("n2.example", 20)]);
        assert_eq!(pinned.forget(RUN), [address(1)]);
        assert_eq!(pinned.of(RUN).count(), 0);
    }

    #[test]
    fn room_is_made_by_what_has_come_to_its_time_and_by_nothing_else() {
        let mut pinned = Pinned::default();
        for number in 0..MOST {
            pinned.add(RUN, address(number), answer(1, 10 + number as u64));
        }
        assert_eq!(pinned.make_room(RUN, &[address(3)], 0), Ok(vec![]));
        assert_eq!(pinned.make_room(RUN, &[address(MOST)], 9), Err(Full));
        let more = [address(0), address(MOST), address(MOST + 1)];
        assert_eq!(pinned.make_room(RUN, &more, 12), Ok(vec![address(1), address(2)]));
        assert_eq!(pinned.addresses(RUN).len(), MOST - 2);
    }
}
