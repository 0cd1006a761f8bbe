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
    /// Nothing: whom TCP sends to cannot change once it was judged, and what it sends is.
    Free,
    /// Nothing: it goes to the daemon's resolver, which knows who asks.
    Resolver,
    /// The resolver, to which the run has sent enough for now.
    Crowds,
    /// Nothing: where it goes was found granted, by the rules that hold the run.
    Vouched,
    /// Where it goes, or comes to.
    Judged,
    /// A datagram that has come: whether the run may listen where it came to, or else send to whom it came from.
    Arrived,
    /// A segment of a connection that stands: whether the run may go on with it.
    Heard,
    /// Options, or headers before the one of its protocol, which may have it sent on from there.
    Detour,
    /// Its header cannot be read.
    Unread,
}

/// Between whom a packet goes, as far as its [`Way`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Whom it goes to, or where it comes to; of a datagram that has come, whom it comes from, and of a connection that
    /// stands, what the run's own messages on it are judged by.
    pub peer: Peer,
    /// Of a datagram that has come, where it comes to.
    pub own: Peer,
}

impl Default for Ends {
    #[inline(always)]
    fn default() -> Self {
        let nobody = Peer { address: Address::ANY_V6, port: 0, protocol: 0, verb: Verb::Send };
        Self { peer: nobody, own: Peer { verb: Verb::Listen, ..nobody } }
    }
}

/// Of a run that is alive passes what goes to a peer that its rules grant, what comes to where they let it listen, and
/// datagrams from such a peer. Of a connection that the rules do not grant any more passes what carries nothing: that what was
/// sent has arrived, or that nothing more comes. Of one that is over, or stands on one that is, nothing passes but what ends connections: the other end hears that there is
/// nothing more to come, and nothing else.
///
/// The hooks on sockets have been asked already. What they saw another thread may have changed since: a socket's address is
/// what the packets say.
#[inline(always)]
pub fn may_pass<F: Facts>(
    facts: &F,
    tag: &Tag,
    ends: &mut Ends,
    way: impl FnOnce(&mut Ends) -> Way,
    packet: impl FnOnce() -> Packet,
) -> Answer {
    match facts.ascend(tag, None) {
        Ok(()) => match way(ends) {
            Way::Free | Way::Resolver | Way::Vouched => Ok(0),
            Way::Crowds => Err(Refusal::denied(Reason::Guarded)),
            Way::Judged => facts.may_reach(tag, &ends.peer),
            // Most that comes without having been asked for comes to a server, and most runs listen nowhere: that is soon known.
            Way::Arrived => match facts.may_reach(tag, &ends.own) {
                Err(Refusal::Denied { .. }) => facts.may_reach(tag, &ends.peer),
                answer => answer,
            },
            Way::Heard => match facts.may_reach(tag, &ends.peer) {
                Err(Refusal::Denied { .. }) if packet().empty => Ok(0),
                answer => answer,
            },
            Way::Detour => Err(Refusal::denied(Reason::SocketOption)),
            Way::Unread => Err(Refusal::Fault(Fault::AddressRead)),
        },
        Err(Refusal::Denied { .. }) if packet().only_ends() => Ok(0),
        Err(refused) => Err(refused),
    }
}
