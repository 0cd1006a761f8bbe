//! Which addresses stand for which names, for which run, and until when.
//!
//! The kernel's tables are made from this. It is kept in memory alone: a daemon that is started again finds the addresses in
//! those tables, under the patterns that had granted their names.

use std::collections::BTreeMap;

use agentid_common::net::{Address, PINS_EACH, Pin, Pins};
use uuid::Uuid;

use crate::image::Hosts;

/// Most addresses of one run at a time.
pub const MOST: usize = 2048;

/// A name and one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for; after a restart of the daemon, the pattern of the policy that means it.
    pub name: String,
    /// In nanoseconds of `CLOCK_BOOTTIME`.
    pub until: u64,
}

/// All answers of all runs that hold a slot.
#[derive(Debug, Default)]
pub struct Pinned {
    runs: BTreeMap<Uuid, BTreeMap<Address, Vec<Answer>>>,
}

impl Pinned {
    /// Notes an answer. False when the run has too many addresses.
    pub fn add(&mut self, run: Uuid, address: Address, answer: Answer) -> bool {
        let addresses = self.runs.entry(run).or_default();
        if addresses.len() >= MOST && !addresses.contains_key(&address) {
            return false;
        }
        let answers = addresses.entry(address).or_default();
        match answers.iter_mut().find(|known| known.name == answer.name) {
            Some(known) => known.until = known.until.max(answer.until),
            None => answers.push(answer),
        }
        true
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

    /// What the kernel's table has to say of an address; nothing when no name stands for it any more.
    pub fn pins(&self, run: Uuid, address: Address, hosts: &Hosts) -> Option<Pins> {
        let answers = self.runs.get(&run)?.get(&address)?;
        let mut pins: Vec<Pin> = answers
            .iter()
            .filter_map(|answer| {
                let rules = hosts.find(&answer.name)?;
                let Answer { until, .. } = *answer;
                Some(Pin { until, pattern: rules.pattern, class: rules.class, reserved: 0 })
            })
            .collect();
        // Names of one pattern say the same.
        pins.sort_by_key(|pin| (pin.class, std::cmp::Reverse(pin.until)));
        pins.dedup_by_key(|pin| pin.class);
        pins.sort_by_key(|pin| std::cmp::Reverse(pin.until));
        let mut list = Pins::default();
        for (place, pin) in list.list.iter_mut().take(PINS_EACH as usize).zip(&pins) {
            *place = *pin;
        }
        (!pins.is_empty()).then_some(list)
    }

    /// Forgets what these rules do not grant.
    pub fn keep_granted(&mut self, run: Uuid, hosts: &Hosts) {
        let Some(addresses) = self.runs.get_mut(&run) else { return };
        for answers in addresses.values_mut() {
            answers.retain(|it| hosts.find(&it.name).is_some_and(|rules| rules.allows.is_some()));
        }
        addresses.retain(|_, answers| !answers.is_empty());
    }

    /// Forgets what has come to its time, and says whose addresses have become others.
    pub fn expire(&mut self, now: u64) -> Vec<(Uuid, Address)> {
        let mut changed = Vec::new();
        for (run, addresses) in &mut self.runs {
            for (address, answers) in addresses.iter_mut() {
                let before = answers.len();
                answers.retain(|answer| answer.until > now);
                if answers.len() < before {
                    changed.push((*run, *address));
                }
            }
            addresses.retain(|_, answers| !answers.is_empty());
        }
        self.runs.retain(|_, addresses| !addresses.is_empty());
        changed
    }

    /// Forgets a run, and says which addresses it had.
    pub fn forget(&mut self, run: Uuid) -> Vec<Address> {
        self.runs.remove(&run).into_iter().flat_map(BTreeMap::into_keys).collect()
    }
}
