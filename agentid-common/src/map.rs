//! Capacity of every map. The names are those of the statics in the kernel programs, at most 15 characters, because
//! the kernel keeps no more of a name (`BPF_OBJ_NAME_LEN`, include/uapi/linux/bpf.h).

use crate::tag::Tag;

/// Runs that can live at once; slot 0 is the daemon's canary.
pub const SLOTS: u32 = 16_384;
/// Slot of the canary.
pub const CANARY_SLOT: u32 = 0;
/// Folders that rules can hang on.
pub const ANCHORS: u32 = 65_536;
/// Anchors times scopes.
pub const ENTRIES: u32 = 262_144;
/// States of all automata; number 0 is the dead one.
pub const NODES: u32 = 65_536;
/// Edges of all automata.
pub const EDGES: u32 = 262_144;
/// Globs of all automata; number 0 ends a list.
pub const GLOBS: u32 = 16_384;
/// Prefixes of addresses of all policies.
pub const PEERS: u32 = 131_072;
/// Prefixes of ports of all classes.
pub const PORTS: u32 = 131_072;
/// Addresses of all runs that names stand for.
pub const PINS: u32 = 131_072;
/// Folders that the kernel programs remember a search for; one that falls on another's place takes it.
pub const KNOWN: u32 = 1 << KNOWN_BITS;
pub const KNOWN_BITS: u32 = 15;
/// Counts of folders that have gone out of the kernel's memory, by their address.
pub const LIVES: u32 = 1 << LIVES_BITS;
pub const LIVES_BITS: u32 = 16;
/// Place of the edition of the tables that a search for a file uses.
pub const EDITION_OF_FILES: u32 = 0;
/// Place of the edition of the tables that a search for a peer uses.
pub const EDITION_OF_PEERS: u32 = 1;
pub const EDITIONS: u32 = 2;
/// Bytes of the ring of records.
pub const EVENTS: u32 = 4 << 20;

/// The host's own numbers; the one value of its map, written when the maps are created, and what the settings say at each start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    pub abi: u32,
    /// How many arguments of an executed program its record has at most.
    pub arguments: u32,
    pub names: crate::name::NameKey,
    /// Last number that was given to a superblock.
    pub filesystems: u64,
    /// The address of the kernel's lock on renames, which stays until the next boot; 0 where it is not told.
    pub rename_lock: u64,
}

/// Where the daemon answers questions for names; the one value of its map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Cookie of the network namespace that it can be reached in.
    pub namespace: u64,
    /// Its port on the loopback addresses there, 0 while there has never been one.
    pub port: u32,
    pub reserved: u32,
}

/// Which tasks are to become those of a run; the one value of its map, read by the iterator that tags them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Number of the cgroup that they are in, and no others; 0 while there are none.
    pub group: u64,
    pub tag: Tag,
    /// 1 to take the tag away again from those of them that have it, else 0.
    pub undo: u32,
    pub reserved: u32,
}

/// Mark on a folder of bpffs: entries in it, and it itself, are left alone by all but the daemon.
pub const GUARD_FOLDER: u32 = 1;
/// Mark on the root of a bpffs: it is neither unmounted nor mounted over by anyone but the daemon.
pub const GUARD_ROOT: u32 = 2;
