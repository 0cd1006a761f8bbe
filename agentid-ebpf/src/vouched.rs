//! The peer that a run's rules were found to grant a socket last.
//!
//! Most sockets talk to one peer. What the rules say of it is remembered at the socket, and taken for true as long as all of
//! this holds:
//!
//! - The run that asks is held by the same rules, and stands on no other run. For a message that is the sender's, for a packet
//!   the socket's maker: it does not matter which, because the rules of parameters are one run's alone, and are written
//!   anew, under another number, whenever a run is bound to other rules.
//! - The daemon's tables of peers have not been touched: their edition is the same, and even. What a name stands for is one
//!   of them.
//! - The question is the same: peer, port, protocol and verb.
//!
//! Whether the run is alive is no part of it, and asked each time. What a name was found to grant ends with the name's time,
//! so that of a run with names only what holds for a conversation that stands is remembered.
//!
//! What comes on a connection is judged by the same question as what is sent there, so that either remembers for both.
//!
//! Threads may send on one socket at the same time: it is written under a version, odd meanwhile, so that a reader never
//! takes halves of two for one.

use core::{
    ffi::c_void,
    ptr::{read_volatile, write_volatile},
};

use agentid_common::{
    instance::{Instance, NO_SLOT},
    map::EDITION_OF_PEERS,
    net::{Address, Peer, Verb},
    tag::Tag,
    verdict::Answer,
};

use crate::{
    apart,
    maps::{self, INSTANCES, VOUCHED},
};

/// The value of [`VOUCHED`].
#[repr(C)]
pub struct Vouched {
    /// Odd while the rest is written, and another one afterwards.
    version: u64,
    edition: u64,
    policy: u64,
    params: u64,
    /// What was asked, but for the address: see [`question`].
    question: u64,
    address: [u64; 2],
    /// The rule that grants it.
    rule: u64,
}

/// No rule has this number.
const NOTHING: u32 = u32::MAX;

/// What holds for a conversation that stands is another question than what holds for a new one.
const STANDS: u64 = 1 << 32;

#[inline(always)]
const fn question(peer: &Peer, verb: Verb, stands: bool) -> u64 {
    let asked = (peer.port as u64) << 16 | (peer.protocol as u64) << 8 | verb as u64;
    if stands { asked | STANDS } else { asked }
}

/// May the run use this peer? As [`apart::may_use`], without a search where the answer is remembered; a run that is over is
/// told so by that, or by `ascend`.
#[inline(always)]
pub fn recall_or_ask(sock: *const c_void, tag: &Tag, peer: &Peer, stands: bool) -> Answer {
    let asked = question(peer, peer.verb, stands);
    let rule = recall(sock, tag, &peer.address, [asked; 2]);
    if rule != NOTHING {
        apart::ascend(tag, None)?;
        return Ok(rule as u16);
    }
    let circumstances = Circumstances::of(tag);
    let answer = apart::may_use(tag, peer, stands);
    if let Ok(rule) = answer {
        keep(sock, tag, peer, stands, &circumstances, rule);
    }
    answer
}

/// Whether a datagram to this peer is known to be granted: with a message that named it, or to the peer of the socket.
#[inline(always)]
pub fn is_granted(sock: *const c_void, tag: &Tag, peer: &Peer) -> bool {
    let asked = [question(peer, Verb::Send, false), question(peer, Verb::Connect, false)];
    recall(sock, tag, &peer.address, asked) != NOTHING
}

/// Whether the connection of this socket is known to be granted still.
#[inline(always)]
pub fn may_go_on(sock: *const c_void, tag: &Tag, peer: &Peer) -> bool {
    recall(sock, tag, &peer.address, [question(peer, peer.verb, true); 2]) != NOTHING
}

/// Remembers that a connection which stands was found to be granted.
#[inline(always)]
pub fn goes_on(sock: *const c_void, tag: &Tag, peer: &Peer, found: &Circumstances, rule: u16) {
    keep(sock, tag, peer, true, found, rule);
}

/// What a search must find unchanged at its end for its result to be kept: a run may be bound to other rules meanwhile, which
/// is no change of the tables. Without any of them nothing is kept.
#[derive(Default)]
pub struct Circumstances {
    edition: u64,
    policy: u64,
    params: u64,
}

impl Circumstances {
    /// No run is held by rules of the number 0.
    #[inline(always)]
    pub fn of(tag: &Tag) -> Self {
        let edition = maps::edition(EDITION_OF_PEERS);
        let (policy, params) = alone(tag).and_then(Instance::scopes).unwrap_or_default();
        Self { edition, policy, params }
    }

    #[inline(always)]
    pub const fn are_known(&self) -> bool {
        self.policy != 0
    }
}

/// The slot's run, if it is the tag's, and if its own rules are all that it is held by.
#[inline(always)]
fn alone<'a>(tag: &Tag) -> Option<&'a Instance> {
    let instance = INSTANCES.get(tag.slot)?;
    (instance.generation == tag.generation && instance.parent == NO_SLOT).then_some(instance)
}

/// The rule that is remembered for one of two questions.
#[inline(always)]
fn recall(sock: *const c_void, tag: &Tag, address: &Address, asked: [u64; 2]) -> u32 {
    let Some(own) = VOUCHED.get(sock) else { return NOTHING };
    let Some(instance) = alone(tag) else { return NOTHING };
    let address = words(address);
    // SAFETY: a value of socket storage lives as long as its socket. What is read may be written meanwhile, which the version
    // tells.
    unsafe {
        let version = read_volatile(&raw const (*own).version);
        let rule = read_volatile(&raw const (*own).rule) as u32;
        let answered = read_volatile(&raw const (*own).question);
        let same = version & 1 == 0
            && (answered == asked[0] || answered == asked[1])
            && read_volatile(&raw const (*own).address[0]) == address[0]
            && read_volatile(&raw const (*own).address[1]) == address[1]
            && read_volatile(&raw const (*own).policy) == instance.policy
            && read_volatile(&raw const (*own).params) == instance.params
            && read_volatile(&raw const (*own).edition) == maps::edition(EDITION_OF_PEERS)
            && read_volatile(&raw const (*own).version) == version;
        if same && rule <= u32::from(u16::MAX) { rule } else { NOTHING }
    }
}

/// Remembers what was found under this edition, if it may be.
#[inline(always)]
fn keep(
    sock: *const c_void,
    tag: &Tag,
    peer: &Peer,
    stands: bool,
    found: &Circumstances,
    rule: u16,
) {
    let Some(instance) = alone(tag) else { return };
    let now = Circumstances::of(tag);
    let same = found.edition == now.edition
        && found.policy == now.policy
        && found.params == now.params
        && now.edition & 1 == 0
        && now.policy != 0;
    if !same || !(stands || instance.names == 0) {
        return;
    }
    // Without memory for it, it is looked for each time.
    let Some(own) = VOUCHED.get_or_create(sock) else { return };
    let address = words(&peer.address);
    // SAFETY: a value of socket storage lives as long as its socket; whoever makes the version odd writes the rest alone.
    unsafe {
        let version = read_volatile(&raw const (*own).version);
        if version & 1 != 0 || !maps::take(&raw mut (*own).version, version) {
            return;
        }
        write_volatile(&raw mut (*own).edition, now.edition);
        write_volatile(&raw mut (*own).policy, now.policy);
        write_volatile(&raw mut (*own).params, now.params);
        write_volatile(&raw mut (*own).question, question(peer, peer.verb, stands));
        write_volatile(&raw mut (*own).address, address);
        write_volatile(&raw mut (*own).rule, u64::from(rule));
        write_volatile(&raw mut (*own).version, version.wrapping_add(2));
    }
}

#[inline(always)]
fn words(address: &Address) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.0;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}
