//! May a packet of a run's socket pass?

use crate::{
    facts::Facts,
    net::{Address, Peer, Verb},
    tag::Tag,
    verdict::{Answer, Fault, Reason, Refusal},
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

/// What a packet has to be judged for, by its socket and its own headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing: whom TCP talks to cannot change once it was judged.
    Free,
    /// Nothing: it goes to the daemon's resolver, which knows who asks.
    Resolver,
    /// The resolver, to which the run has sent enough for now.
    Crowds,
    /// Nothing: where it goes was found granted, by the rules that hold the run.
    Vouched,
    /// Where it goes, or comes to.
    Judged,
    /// Options, or headers before the one of its protocol, which may have it sent on from there.
    Detour,
    /// Its header cannot be read.
    Unread,
}

/// Of a run that is alive passes what goes to a peer that its rules grant, and what comes to where they let it listen. Of one
/// that is over, or stands on one that is, nothing passes but what ends connections: the other end hears that there is
/// nothing more to come, and nothing else.
///
/// The hooks on sockets have been asked already. What they saw another thread may have changed since: a socket's address is
/// what the packets say.
#[inline(always)]
pub fn may_pass<F: Facts>(
    facts: &F,
    tag: &Tag,
    way: impl FnOnce(&mut Peer) -> Way,
    packet: impl FnOnce() -> Packet,
) -> Answer {
    let mut peer = Peer { address: Address::ANY_V6, port: 0, protocol: 0, verb: Verb::Send };
    match facts.ascend(tag, None) {
        Ok(()) => match way(&mut peer) {
            Way::Free | Way::Resolver | Way::Vouched => Ok(0),
            Way::Crowds => Err(Refusal::denied(Reason::Guarded)),
            Way::Judged => facts.may_reach(tag, &peer),
            Way::Detour => Err(Refusal::denied(Reason::SocketOption)),
            Way::Unread => Err(Refusal::Fault(Fault::AddressRead)),
        },
        Err(Refusal::Denied { .. }) if packet().only_ends() => Ok(0),
        Err(refused) => Err(refused),
    }
}
