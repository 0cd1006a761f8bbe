//! One change of the kernel's maps.

use agentid_common::{
    capability::Capabilities,
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, Node},
    instance::{Activity, Instance, Ladder, State},
    map::{EDITION_OF_FILES, EDITION_OF_PEERS},
    net::{PeerKey, Pins, PortKey, PortRule},
    verdict::Mode,
};

/// What a policy has to say of a slot, beside the rules in the other tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRules {
    pub policy: u64,
    pub params: u64,
    pub mode: Mode,
    pub ladder: Ladder,
    pub capabilities: Capabilities,
    /// Whether the policy grants host names.
    pub names: bool,
}

impl SlotRules {
    /// The instance, held by these.
    pub fn of(self, instance: Instance) -> Instance {
        let Self { policy, params, mode, ladder, capabilities, names } = self;
        let names = u32::from(names);
        Instance { mode, ladder, capabilities, names, ..instance }.bound_to(policy, params)
    }
}

/// One write, or the wait between writes. Lists of them are carried out in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOp {
    SetAnchor(AnchorKey, u32),
    RemoveAnchor(AnchorKey),
    SetNode(u32, Node),
    RemoveNode(u32),
    SetGlob(u32, Glob),
    RemoveGlob(u32),
    SetEdge(EdgeKey, u32),
    RemoveEdge(EdgeKey),
    SetEntry(EntryKey, Entry),
    RemoveEntry(EntryKey),
    /// `bits` counts from the start of the key, [`agentid_common::net::PEER_SCOPE_BITS`] included.
    SetPeer {
        key: PeerKey,
        bits: u32,
        class: u32,
    },
    RemovePeer {
        key: PeerKey,
        bits: u32,
    },
    /// `bits` counts from the start of the key, [`agentid_common::net::PORT_CLASS_BITS`] included.
    SetPort {
        key: PortKey,
        bits: u32,
        rule: PortRule,
    },
    RemovePort {
        key: PortKey,
        bits: u32,
    },
    /// The scope is that of a run's parameters.
    SetPins(PeerKey, Pins),
    RemovePins(PeerKey),
    SetInstance(u32, Instance),
    SetActivity(u32, Activity),
    /// One store into a slot that holds an instance.
    SetState(u32, State),
    /// One store into a slot that holds an instance.
    SetDeadline(u32, u64),
    /// Other rules for the instance that a slot holds.
    Bind(u32, SlotRules),
    /// Waits until every hook that runs now has returned, so that none still holds what was removed.
    Synchronize,
}

impl MapOp {
    /// Place of the edition of the tables that it changes; `None` where nothing of them is remembered.
    pub fn edits(&self) -> Option<u32> {
        match self {
            Self::SetAnchor(..)
            | Self::RemoveAnchor(_)
            | Self::SetNode(..)
            | Self::RemoveNode(_)
            | Self::SetGlob(..)
            | Self::RemoveGlob(_)
            | Self::SetEdge(..)
            | Self::RemoveEdge(_)
            | Self::SetEntry(..)
            | Self::RemoveEntry(_) => Some(EDITION_OF_FILES),
            Self::SetPeer { .. }
            | Self::RemovePeer { .. }
            | Self::SetPort { .. }
            | Self::RemovePort { .. }
            | Self::SetPins(..)
            | Self::RemovePins(_) => Some(EDITION_OF_PEERS),
            Self::SetInstance(..)
            | Self::SetActivity(..)
            | Self::SetState(..)
            | Self::SetDeadline(..)
            | Self::Bind(..)
            | Self::Synchronize => None,
        }
    }
}
