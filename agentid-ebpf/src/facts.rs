//! The decision's lookups, answered by the maps.

use core::ffi::c_void;

use agentid_common::{
    decide::{file::Search, lifecycle::Alive},
    facts::{Facts, Flow, Turn},
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, Node, Rights},
    glob::Spelling,
    instance::Instance,
    net::{Peer, PeerKey, Pins, PortKey, PortRule},
    tag::Tag,
    verdict::{Answer, Fault, Refusal},
};
use aya_ebpf::{
    btf_maps::lpm_trie::Key,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_loop},
};

use crate::{
    apart,
    maps::{ANCHORS, EDGES, ENTRIES, GLOBS, INSTANCES, NODES, PEERS, PINS, PORTS, WORK, Work},
    subject,
};

/// The maps as they are now.
pub struct Live;

/// The task's room to work in.
#[inline(always)]
pub fn work() -> Result<*mut Work, Fault> {
    WORK.get_or_create(subject::current_task()).ok_or(Fault::WorkStorage)
}

/// The kernel's name for [`Turn::turn`].
extern "C" fn turn<T: Turn>(index: u32, turns: *mut T) -> i64 {
    // SAFETY: `repeat` hands the context through.
    match unsafe { (*turns).turn(index) } {
        Flow::GoOn => 0,
        Flow::Stop => 1,
    }
}

impl Facts for Live {
    #[inline(always)]
    fn repeat<T: Turn>(&self, count: u32, turns: &mut T) -> Result<(), Fault> {
        let turns: *mut T = turns;
        // SAFETY: the verifier follows the callback with this very context.
        let taken = unsafe { bpf_loop(count, turn::<T> as *mut c_void, turns.cast(), 0) };
        if taken < 0 { Err(Fault::Loop) } else { Ok(()) }
    }

    type Room = &'static mut Alive;

    #[inline(always)]
    fn room(&self) -> Result<&'static mut Alive, Fault> {
        // SAFETY: `work` is this task's own, and nothing else of it is in use that is written here.
        Ok(unsafe { &mut (*work()?).alive })
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: takes nothing and cannot fail.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn instance(&self, slot: u32) -> Option<&Instance> {
        INSTANCES.get(slot)
    }

    #[inline(always)]
    fn anchor(&self, key: &AnchorKey) -> Option<u32> {
        // SAFETY: the value is copied at once. An element is deleted only after every hook that could have looked
        // it up has ended.
        unsafe { ANCHORS.get(key) }.copied()
    }

    #[inline(always)]
    fn entry(&self, key: &EntryKey) -> Option<&Entry> {
        // SAFETY: as for anchors.
        unsafe { ENTRIES.get(key) }
    }

    #[inline(always)]
    fn edge(&self, key: &EdgeKey) -> Option<u32> {
        // SAFETY: as for anchors.
        unsafe { EDGES.get(key) }.copied()
    }

    #[inline(always)]
    fn node(&self, state: u32) -> Option<&Node> {
        NODES.get(state)
    }

    #[inline(always)]
    fn glob(&self, index: u32) -> Option<&Glob> {
        GLOBS.get(index)
    }

    #[inline(always)]
    fn class(&self, key: &PeerKey) -> Option<u32> {
        PEERS.get(&Key::new(size_of::<PeerKey>() as u32 * 8, *key)).copied()
    }

    #[inline(always)]
    fn pins(&self, key: &PeerKey) -> Option<&Pins> {
        // SAFETY: as for anchors.
        unsafe { PINS.get(key) }
    }

    #[inline(always)]
    fn port_rule(&self, key: &PortKey) -> Option<PortRule> {
        PORTS.get(&Key::new(size_of::<PortKey>() as u32 * 8, *key)).copied()
    }

    #[inline(always)]
    fn ascend(&self, tag: &Tag, alive: Option<&mut Alive>) -> Result<(), Refusal> {
        apart::ascend(tag, alive)
    }

    #[inline(always)]
    fn judge(&self, search: &Search, want: Rights) -> Answer {
        apart::judge(search, want)
    }

    #[inline(always)]
    fn granted(&self, search: &Search) -> Result<Rights, Fault> {
        apart::granted(search)
    }

    #[inline(always)]
    fn next(&self, state: u32, hash: u64, name: &mut Spelling) -> Result<u32, Fault> {
        apart::next(state, hash, name)
    }

    #[inline(always)]
    fn may_reach(&self, tag: &Tag, peer: &Peer) -> Answer {
        apart::may_reach(tag, peer)
    }
}
