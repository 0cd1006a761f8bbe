//! May a run talk to this unix socket?

use crate::{
    decide::{file::may_access, lifecycle::may_go_on},
    facts::{Facts, Location},
    file::Rights,
    tag::Tag,
    verdict::{Answer, Reason, Refusal},
};

/// The socket at the other end.
pub enum Peer<L> {
    /// The run itself has made it, wherever it lies.
    Own,
    /// The daemon listens there, and tells a run who it is and nothing else.
    Control,
    /// Somebody else's, which lies in the file tree.
    At(L),
    /// Somebody else's, with an abstract name or none.
    Nowhere,
}

/// A run's own sockets are free. Others are files, which need the right `connect`; what lies nowhere no rule can name.
#[inline(always)]
pub fn may_talk<F: Facts, L: Location>(facts: &F, tag: &Tag, peer: &Peer<L>) -> Answer {
    match peer {
        Peer::Own | Peer::Control => may_go_on(facts, tag),
        Peer::At(place) => may_access(facts, tag, place, Rights::CONNECT),
        Peer::Nowhere => {
            may_go_on(facts, tag)?;
            Err(Refusal::denied(Reason::ForeignSocket))
        }
    }
}
