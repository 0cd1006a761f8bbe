//! May a run talk to this unix socket, or be called by this name?

use crate::{
    decide::{
        file::{Search, may_access},
        lifecycle::may_go_on,
    },
    facts::{Facts, Location},
    file::{Rights, SOCKETS},
    glob::Spelling,
    tag::Tag,
    verdict::{Answer, Fault, Reason, Refusal},
};

/// The socket at the other end.
pub enum Peer<L, N> {
    /// The run itself has made it, wherever it lies.
    Own,
    /// The daemon listens there, and tells a run who it is and nothing else.
    Control,
    /// Somebody else's, which lies in the file tree.
    At(L),
    /// One that no run has made, with an abstract name.
    Called(N),
    /// Somebody else's, with an abstract name that another run has taken, or without any.
    Nowhere,
}

/// A run's own sockets are free. Others are files, or have abstract names, and need the right `connect` there.
#[inline(always)]
pub fn may_talk<F: Facts, L: Location, N: Location>(
    facts: &F,
    tag: &Tag,
    peer: &Peer<L, N>,
) -> Answer {
    match peer {
        Peer::Own | Peer::Control => may_go_on(facts, tag),
        Peer::At(place) => may_access(facts, tag, place, Rights::CONNECT),
        Peer::Called(name) => may_access(facts, tag, name, Rights::CONNECT),
        Peer::Nowhere => {
            may_go_on(facts, tag)?;
            Err(Refusal::denied(Reason::ForeignSocket))
        }
    }
}

/// Whether a run may take this abstract name, under which others can talk to it.
#[inline(always)]
pub fn may_be_called<F: Facts, N: Location>(facts: &F, tag: &Tag, name: &N) -> Answer {
    may_access(facts, tag, name, Rights::CREATE)
}

/// Searches for what the scopes say of an abstract name, for its [`Location::search`].
#[inline(always)]
pub fn look_up<F: Facts>(
    facts: &F,
    search: &mut Search,
    hash: u64,
    name: &mut Spelling,
) -> Result<(), Fault> {
    search.visit_type(facts, SOCKETS, 1);
    search.descend(facts, 0, hash, name)
}
