//! Steps of a decision that the verifier goes through once in each program, whatever ways lead there and on.
//!
//! The verifier takes a function for one that may be called from anywhere when it is known by a name. It knows nothing then
//! of what is handed over but that a number is any number, and that behind a pointer there is room of the pointer's type,
//! or that it is null. Of what comes back it knows as little: one number. So the ways that were many before a call are one
//! behind it, for which an answer is handed back as [`Packed`].

use agentid_common::{
    decide::{
        file::{self, Search},
        lifecycle::{self, Alive},
        net,
    },
    file::Rights,
    glob::Spelling,
    net::Peer,
    tag::Tag,
    verdict::{Answer, Fault, Packed, Refusal},
};

use crate::facts::Live;

/// See [`lifecycle::ascend`].
#[inline(always)]
pub fn ascend(tag: &Tag, alive: Option<&mut Alive>) -> Result<(), Refusal> {
    let alive = alive.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    match agentid_ascend(alive, tag.slot, tag.generation) {
        0 => Ok(()),
        refused => Packed(refused).answer().map(drop),
    }
}

/// What notes no chain where it is given none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_ascend(alive: *mut Alive, slot: u32, generation: u64) -> u64 {
    // SAFETY: null, or the caller's own.
    let alive = unsafe { alive.as_mut() };
    match lifecycle::ascend(&Live, &Tag::of_run(slot, generation), alive) {
        Ok(()) => 0,
        Err(refusal) => Packed::of(Err(refusal)).0,
    }
}

/// See [`net::may_use`] and, for a conversation that stands, [`net::may_go_on_with`].
#[inline(always)]
pub fn may_use(tag: &Tag, peer: &Peer, stands: bool) -> Answer {
    Packed(agentid_may_use(peer, tag.slot, tag.generation, u32::from(stands))).answer()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_may_use(peer: *const Peer, slot: u32, generation: u64, stands: u32) -> u64 {
    // SAFETY: the caller's own.
    let Some(peer) = (unsafe { peer.as_ref() }) else {
        return Packed::of(Err(Refusal::Fault(Fault::AddressRead))).0;
    };
    let tag = Tag::of_run(slot, generation);
    let answer = if stands == 0 {
        net::may_use(&Live, &tag, peer)
    } else {
        net::may_go_on_with(&Live, &tag, peer)
    };
    Packed::of(answer).0
}

/// See [`net::may_reach`].
#[inline(always)]
pub fn may_reach(tag: &Tag, peer: &Peer) -> Answer {
    Packed(agentid_may_reach(peer, tag.slot, tag.generation)).answer()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_may_reach(peer: *const Peer, slot: u32, generation: u64) -> u64 {
    // SAFETY: the caller's own.
    let Some(peer) = (unsafe { peer.as_ref() }) else {
        return Packed::of(Err(Refusal::Fault(Fault::AddressRead))).0;
    };
    Packed::of(net::may_reach(&Live, &Tag::of_run(slot, generation), peer)).0
}

/// See [`Search::judge`].
#[inline(always)]
pub fn judge(search: &Search, want: Rights) -> Answer {
    Packed(agentid_judge(search, want.0)).answer()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_judge(search: *const Search, want: u32) -> u64 {
    // SAFETY: the caller's own.
    let Some(search) = (unsafe { search.as_ref() }) else {
        return Packed::of(Err(Refusal::Fault(Fault::StateLookup))).0;
    };
    Packed::of(search.judge(&Live, Rights(want))).0
}

/// See [`Search::granted`].
#[inline(always)]
pub fn granted(search: &Search) -> Result<Rights, Fault> {
    number(agentid_granted(search)).map(Rights)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_granted(search: *const Search) -> u64 {
    // SAFETY: the caller's own.
    let Some(search) = (unsafe { search.as_ref() }) else {
        return packed(Err(Fault::StateLookup));
    };
    packed(search.granted(&Live).map(|rights| rights.0))
}

/// See [`file::next`].
#[inline(always)]
pub fn next(state: u32, hash: u64, name: &mut Spelling) -> Result<u32, Fault> {
    number(agentid_next(name, state, hash))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_next(name: *mut Spelling, state: u32, hash: u64) -> u64 {
    // SAFETY: the caller's own.
    let Some(name) = (unsafe { name.as_mut() }) else {
        return packed(Err(Fault::StateLookup));
    };
    packed(file::next(&Live, state, hash, name))
}

/// Beyond the numbers of 32 bits are the faults.
const FAULTS: u64 = 1 << 32;

#[inline(always)]
fn packed(found: Result<u32, Fault>) -> u64 {
    match found {
        Ok(number) => u64::from(number),
        Err(fault) => FAULTS | fault as u64,
    }
}

#[inline(always)]
fn number(packed: u64) -> Result<u32, Fault> {
    if packed < FAULTS {
        return Ok(packed as u32);
    }
    Err(Fault::from_u32(packed as u32).unwrap_or(Fault::StateLookup))
}
