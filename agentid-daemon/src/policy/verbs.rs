//! What a `[[net]]` rule is about: verbs, on which side, by which protocols.

use agentid_common::net::{ICMP, TCP, UDP, Verb};

use super::policy::{Effect, NetRule};

/// The protocols that rules can name.
pub const PROTOCOLS: [(&str, u8); 3] = [("tcp", TCP), ("udp", UDP), ("icmp", ICMP)];

/// A set of verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verbs {
    pub fn of(verbs: impl IntoIterator<Item = Verb>) -> Self {
        Self(verbs.into_iter().fold(0, |set, verb| set | 1 << verb as u8))
    }

    pub fn contains(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u8 != 0
    }

    /// In the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.contains(*verb))
    }
}

/// Whose addresses a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `to`: the peer's.
    Peer,
    /// `on`: the run's own.
    Own,
}

impl Side {
    /// The key that says so.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Peer => "to",
            Self::Own => "on",
        }
    }

    pub const fn of(verb: Verb) -> Self {
        if verb.is_local() { Self::Own } else { Self::Peer }
    }

    /// Every verb of this side.
    pub fn verbs(self) -> Verbs {
        Verbs::of(Verb::ALL.into_iter().filter(|verb| Self::of(*verb) == self))
    }

    /// Every protocol that has something to say on this side: ICMP has no ports to listen on.
    pub const fn protocols(self) -> &'static [u8] {
        match self {
            Self::Peer => &[TCP, UDP, ICMP],
            Self::Own => &[TCP, UDP],
        }
    }
}

/// What a word in a rule stands for with a protocol: `connect` for messages with an address too, where the protocol has
/// them, and `listen` for the connections that come, where it has those.
pub fn meaning(word: Verb, protocol: u8) -> &'static [Verb] {
    match (word, protocol) {
        (Verb::Connect, TCP) => &[Verb::Connect],
        (Verb::Connect, _) => &[Verb::Connect, Verb::Send],
        (Verb::Listen, TCP) => &[Verb::Listen, Verb::Accept],
        (Verb::Listen, UDP) => &[Verb::Listen],
        (Verb::Accept, TCP) => &[Verb::Accept],
        (Verb::Send, TCP) | (Verb::Listen | Verb::Accept, _) => &[],
        (Verb::Send, _) => &[Verb::Send],
    }
}

impl NetRule {
    /// The words that the rule was written with.
    pub fn words(&self) -> Verbs {
        match self.effect {
            Effect::Allow(verbs) | Effect::Deny(verbs) => verbs,
        }
    }

    /// Whether it speaks of this verb with this protocol.
    pub fn is_about(&self, verb: Verb, protocol: u8) -> bool {
        self.protocols.contains(&protocol)
            && self.words().iter().any(|word| meaning(word, protocol).contains(&verb))
    }

    /// The protocols that stand in the document, or would without changing the rule, where they are not the usual ones.
    pub fn unusual_protocols(&self) -> Option<Vec<&'static str>> {
        let usual = match self.effect {
            Effect::Allow(_) => &[TCP],
            Effect::Deny(_) => self.side.protocols(),
        };
        (self.protocols != usual).then(|| {
            let names = PROTOCOLS.iter().filter(|(_, number)| self.protocols.contains(number));
            names.map(|(name, _)| *name).collect()
        })
    }
}
