//! The decision's lookups, answered by the maps.

use agentid_common::{
    facts::Facts,
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Node},
    instance::Instance,
    net::{PeerKey, PortKey, PortRule},
};
use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::generated::bpf_ktime_get_boot_ns};

use crate::maps::{ANCHORS, EDGES, ENTRIES, INSTANCES, NODES, PEERS, PORTS};

/// The maps as they are now.
pub struct Live;

impl Facts for Live {
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
    fn class(&self, key: &PeerKey) -> Option<u32> {
        PEERS.get(&Key::new(size_of::<PeerKey>() as u32 * 8, *key)).copied()
    }

    #[inline(always)]
    fn port_rule(&self, key: &PortKey) -> Option<PortRule> {
        PORTS.get(&Key::new(size_of::<PortKey>() as u32 * 8, *key)).copied()
    }
}
