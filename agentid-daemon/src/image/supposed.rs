//! Facts in which a name stands for an address that nothing else is said of.

use std::collections::BTreeMap;

use agentid_common::{
    decide::lifecycle::OnStack,
    facts::{Facts, Turn},
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, Node},
    instance::Instance,
    net::{PeerKey, Pin, Pins, PortKey, PortRule},
    verdict::Fault,
};

/// All facts are those of `facts`, but for the one address, which has only names.
#[derive(Clone, Debug)]
pub struct Supposed<F> {
    facts: F,
    /// By the scope of each run's parameters.
    pins: BTreeMap<u64, Pins>,
}

impl<F: Facts> Supposed<F> {
    /// `classes`: the class that the name has for the run whose parameters have this scope.
    pub fn new(facts: F, classes: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let pins = classes.into_iter().map(|(scope, class)| {
            let mut pins = Pins::default();
            pins.list[0] = Pin { until: u64::MAX, class, ..Pin::default() };
            (scope, pins)
        });
        Self { pins: pins.collect(), facts }
    }
}

impl<F: Facts> Facts for Supposed<F> {
    type Room = OnStack;

    fn repeat<T: Turn>(&self, count: u32, turns: &mut T) -> Result<(), Fault> {
        self.facts.repeat(count, turns)
    }

    fn room(&self) -> Result<OnStack, Fault> {
        Ok(OnStack::default())
    }

    fn now(&self) -> u64 {
        self.facts.now()
    }

    fn instance(&self, slot: u32) -> Option<&Instance> {
        self.facts.instance(slot)
    }

    fn anchor(&self, key: &AnchorKey) -> Option<u32> {
        self.facts.anchor(key)
    }

    fn entry(&self, key: &EntryKey) -> Option<&Entry> {
        self.facts.entry(key)
    }

    fn edge(&self, key: &EdgeKey) -> Option<u32> {
        self.facts.edge(key)
    }

    fn node(&self, state: u32) -> Option<&Node> {
        self.facts.node(state)
    }

    fn glob(&self, index: u32) -> Option<&Glob> {
        self.facts.glob(index)
    }

    fn class(&self, _: &PeerKey) -> Option<u32> {
        None
    }

    fn pins(&self, key: &PeerKey) -> Option<&Pins> {
        self.pins.get(&key.scope)
    }

    fn port_rule(&self, key: &PortKey) -> Option<PortRule> {
        self.facts.port_rule(key)
    }
}
