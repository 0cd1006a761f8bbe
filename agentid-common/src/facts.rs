//! The lookups that a decision may make.
//!
//! Two implementations exist, and both are real: the kernel programs' maps, and the daemon's image of those maps.

use core::ops::DerefMut;

use crate::{
    decide::{
        file::{self, Search},
        lifecycle::{self, Alive, Scopes},
        net,
    },
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, Node, Rights},
    glob::Spelling,
    instance::Instance,
    net::{Peer, PeerKey, Pins, PortKey, PortRule},
    tag::Tag,
    verdict::{Answer, Fault, Refusal},
};

pub trait Facts: Sized {
    /// Takes turns until one says stop, `count` at most.
    ///
    /// Every loop of a decision goes through here: the host has a plain loop, the kernel programs have `bpf_loop`,
    /// which the verifier looks through once instead of once for each turn.
    fn repeat<T: Turn>(&self, count: u32, turns: &mut T) -> Result<(), Fault>;
    /// Room for a chain of runs. The kernel's is not on the stack, of which a program has 512 bytes for all its calls.
    type Room: DerefMut<Target = Alive>;
    fn room(&self) -> Result<Self::Room, Fault>;
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    fn now(&self) -> u64;
    /// The value of a slot; `None` where the table has no such slot.
    fn instance(&self, slot: u32) -> Option<&Instance>;
    /// Number of an anchor.
    fn anchor(&self, key: &AnchorKey) -> Option<u32>;
    fn entry(&self, key: &EntryKey) -> Option<&Entry>;
    /// Target of an edge.
    fn edge(&self, key: &EdgeKey) -> Option<u32>;
    fn node(&self, state: u32) -> Option<&Node>;
    fn glob(&self, index: u32) -> Option<&Glob>;
    /// Class of the longest prefix that covers the address.
    fn class(&self, key: &PeerKey) -> Option<u32>;
    /// The names that stand for the address; the scope is that of a run's parameters.
    fn pins(&self, key: &PeerKey) -> Option<&Pins>;
    /// Rule of the longest prefix that covers the port.
    fn port_rule(&self, key: &PortKey) -> Option<PortRule>;

    // Steps of a decision that are the same for everyone. The kernel programs have each as a function of its own, which the
    // verifier goes through once, and not once for each way that leads there.

    /// See [`lifecycle::ascend`].
    #[inline(always)]
    fn ascend(&self, tag: &Tag, alive: Option<&mut Alive>) -> Result<(), Refusal> {
        lifecycle::ascend(self, tag, alive)
    }
    /// See [`Search::judge`].
    #[inline(always)]
    fn judge(&self, search: &Search, want: Rights) -> Answer {
        search.judge(self, want)
    }
    /// See [`Search::granted`].
    #[inline(always)]
    fn granted(&self, search: &Search) -> Result<Rights, Fault> {
        search.granted(self)
    }
    /// See [`file::next`].
    #[inline(always)]
    fn next(&self, state: u32, hash: u64, name: &mut Spelling) -> Result<u32, Fault> {
        file::next(self, state, hash, name)
    }
    /// See [`net::may_reach`].
    #[inline(always)]
    fn may_reach(&self, tag: &Tag, peer: &Peer) -> Answer {
        net::may_reach(self, tag, peer)
    }
}

/// The body of a loop.
pub trait Turn {
    /// One turn, numbered from 0.
    fn turn(&mut self, index: u32) -> Flow;
}

/// Whether a loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    GoOn,
    Stop,
}

/// A plain loop, for every implementation but the kernel's.
pub fn plain_loop<T: Turn>(count: u32, turns: &mut T) {
    for index in 0..count {
        if turns.turn(index) == Flow::Stop {
            return;
        }
    }
}

/// A file's place, which can run a search along itself.
///
/// The implementation owns the loop (the host's is a plain one, the kernel's is `bpf_loop`), the steps are the
/// search's own: [`Search::visit`] for each folder from the file up to the root of its filesystem,
/// [`Search::visit_type`] at that root, and [`Search::descend`] for each name from the top down.
pub trait Location {
    /// Room for the chain of the runs that are asked about the place, as [`Facts::room`]: who searches has room already.
    type Room: DerefMut<Target = Alive>;
    fn room(&self) -> Result<Self::Room, Fault>;
    /// Searches for what these scopes say of the place, and answers with what is made of it.
    fn search<F: Facts>(
        &self,
        facts: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer;

    /// Whether there is a device node, which gives something else than its path says ([`crate::device`]).
    #[inline(always)]
    fn is_foreign_device(&self) -> bool {
        false
    }
}
