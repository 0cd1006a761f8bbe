//! May a packet of a run's socket pass?

use crate::{
    decide::lifecycle::may_go_on,
    facts::Facts,
    tag::Tag,
    verdict::{Answer, Refusal},
};

/// A packet, as far as it matters for a run that is over. What cannot be read of it is a packet that carries something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// A segment of TCP that carries nothing, and begins no connection.
    pub empty: bool,
    /// It says that the connection ends.
    pub ends: bool,
    /// The socket is closed already, and only awaits that the other end has heard of it.
    pub closing: bool,
}

impl Packet {
    /// Whether it only helps a connection to its end.
    #[inline(always)]
    const fn only_ends(self) -> bool {
        self.empty && (self.ends || self.closing)
    }
}

/// Of a run that is over, or stands on one that is, nothing passes but what ends connections: the other end hears that
/// there is nothing more to come, and nothing else.
#[inline(always)]
pub fn may_pass<F: Facts>(facts: &F, tag: &Tag, packet: impl FnOnce() -> Packet) -> Answer {
    match may_go_on(facts, tag) {
        Err(Refusal::Denied { .. }) if packet().only_ends() => Ok(0),
        answer => answer,
    }
}
