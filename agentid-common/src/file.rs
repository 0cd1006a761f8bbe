//! File rules as the kernel sees them: anchors, entries and the automaton below them.
//!
//! A file is judged by where it *is*: the folders between it and the root of its filesystem. Some of those folders are
//! **anchors**, known by filesystem, inode and generation. An **entry** says in which state of the automaton a scope
//! (a policy, or one instance's parameters) starts at an anchor, and the names below the anchor lead on from there:
//!
//! ```text
//!   /            usr         lib          python3.11   os.py
//!   root  <──  anchor  <──  folder  <──  folder  <──  file
//!              state 7 ──"lib"──▶ 7 ──"python3.11"──▶ 7 ──"os.py"──▶ 7: read, exec
//! ```
//!
//! A name without an edge of its own is compared with the state's **globs**, and the set of those that it fits has an
//! edge again. The edge of a name includes what the globs say of it.
//!
//! The nearest anchor that has an entry decides for its head; its state already includes what the rules say of the
//! folders above it. A scope has [`HEADS`] heads that never mix: head 0 is the policy's absolute patterns, the others
//! are one parameter each. A right is granted when some head allows it and no head denies it.

/// Rights of an operation or a rule, a set of bits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rights(pub u32);

impl Rights {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(1 << 1);
    pub const CREATE: Self = Self(1 << 2);
    pub const DELETE: Self = Self(1 << 3);
    pub const EXEC: Self = Self(1 << 4);
    /// Connecting to a socket file.
    pub const CONNECT: Self = Self(1 << 5);
    pub const ALL: Self = Self((1 << RIGHTS) - 1);

    /// Each right with its name in policies and records.
    pub const NAMES: [(Self, &'static str); RIGHTS] = [
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::CREATE, "create"),
        (Self::DELETE, "delete"),
        (Self::EXEC, "exec"),
        (Self::CONNECT, "connect"),
    ];

    #[inline(always)]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline(always)]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Index of the lowest right in the set; 0 for the empty set.
    #[inline(always)]
    pub const fn lowest(self) -> usize {
        let mut index = 0;
        while index < RIGHTS - 1 {
            if self.0 & (1 << index) != 0 {
                return index;
            }
            index += 1;
        }
        if self.0 & (1 << (RIGHTS - 1)) != 0 { RIGHTS - 1 } else { 0 }
    }
}

/// How many rights there are.
pub const RIGHTS: usize = 6;

/// How many automata a scope runs beside each other: the absolute patterns and three parameters.
pub const HEADS: usize = 4;

/// Most dentries from a file to the root of its filesystem, both counted. Deeper is denied.
pub const MAX_DEPTH: u32 = 128;

/// Longest name of a file, in bytes (`NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// Longest pattern within one name, in bytes. A power of two, so that a masked index is within.
pub const MAX_GLOB: usize = 64;

/// Most globs of one state: each subset of them is an edge.
pub const MAX_GLOBS: u32 = 6;

/// Number of the state that grants nothing and leads nowhere. It is never stored.
pub const DEAD: u32 = 0;

/// What identifies a folder that rules hang on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnchorKey {
    /// The kernel programs' own number of the superblock, or the type's magic number when `kind` is
    /// [`ANCHOR_TYPE`].
    pub filesystem: u64,
    /// Inode number; 0 for a type.
    pub inode: u64,
    /// Inode generation; 0 for a type.
    pub generation: u32,
    /// [`ANCHOR_FOLDER`], [`ANCHOR_TYPE`], or on [`BTRFS`] the number of the tree that the folder is in: each of its
    /// subvolumes and snapshots numbers its inodes for itself. Such a tree's number is never one of the others.
    pub kind: u32,
}

/// The anchor is one folder of one mounted filesystem.
pub const ANCHOR_FOLDER: u32 = 0;
/// The anchor is the root of every filesystem of one type, such as procfs: a private instance of it is judged like
/// the host's.
pub const ANCHOR_TYPE: u32 = 1;

/// The magic number of btrfs (include/uapi/linux/magic.h).
pub const BTRFS: u64 = 0x9123_683e;
/// The lowest number of a tree of files on btrfs (include/uapi/linux/btrfs_tree.h: `BTRFS_FS_TREE_OBJECTID`).
pub const FIRST_TREE: u32 = 5;

impl AnchorKey {
    /// Whether it is a folder, of whatever filesystem.
    #[inline(always)]
    pub const fn is_folder(&self) -> bool {
        self.kind != ANCHOR_TYPE
    }

    /// The root of every filesystem whose type has this magic number.
    #[inline(always)]
    pub const fn filesystem_type(magic: u64) -> Self {
        Self { filesystem: magic, inode: 0, generation: 0, kind: ANCHOR_TYPE }
    }
}

/// Where a scope has an entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey {
    /// Number of a policy version or of an instance's parameters; never used twice.
    pub scope: u64,
    /// Number of the anchor, the value in the anchor table.
    pub anchor: u32,
    pub reserved: u32,
}

/// State of each head at an anchor; [`DEAD`] where the head has no entry there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub states: [u32; HEADS],
}

/// One edge of the automaton: a state, and the name or the globs that lead on from it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeKey {
    /// The hash of a name (see [`crate::name`]), or the set of the state's globs that a name fits: bit 0 is the
    /// first of its list.
    pub name: u64,
    pub state: u32,
    /// Which of the two `name` is.
    pub kind: u32,
}

/// The edge is for one name.
pub const EDGE_NAME: u32 = 0;
/// The edge is for every name without an edge of its own that fits these globs of the state and no others.
pub const EDGE_GLOBS: u32 = 1;

impl EdgeKey {
    /// The edge of the name with this hash.
    #[inline(always)]
    pub const fn of_name(state: u32, hash: u64) -> Self {
        Self { name: hash, state, kind: EDGE_NAME }
    }

    /// The edge of this set of globs.
    #[inline(always)]
    pub const fn of_globs(state: u32, set: u32) -> Self {
        Self { name: set as u64, state, kind: EDGE_GLOBS }
    }
}

/// A pattern of names, in the list of the states that have it.
///
/// `*` is any number of bytes, none included, and `?` exactly one; every other byte is itself. Names are bytes:
/// UTF-8 is not decoded, so a letter beyond ASCII takes as many `?` as it has bytes. A leading dot is a byte like
/// any other.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob {
    /// Index of the list's next glob; 0 ends the list.
    pub next: u32,
    /// How many of the bytes count; at most [`MAX_GLOB`].
    pub length: u32,
    /// The rest is zero.
    pub bytes: [u8; MAX_GLOB],
}

impl Glob {
    /// A glob at the end of a list; `None` when the pattern is too long.
    pub fn new(pattern: &[u8]) -> Option<Self> {
        let mut glob = Self { length: pattern.len() as u32, ..Self::default() };
        glob.bytes.get_mut(..pattern.len())?.copy_from_slice(pattern);
        Some(glob)
    }

    /// The pattern.
    pub fn pattern(&self) -> &[u8] {
        self.bytes.get(..self.length as usize).unwrap_or(&self.bytes)
    }
}

impl Default for Glob {
    fn default() -> Self {
        Self { next: 0, length: 0, bytes: [0; MAX_GLOB] }
    }
}

/// One state: what the rules say of a file that ends here, and where a name without an edge of its own leads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub allow: Rights,
    /// Beats `allow`, of this head and of the others.
    pub deny: Rights,
    /// Next state for a name that has no edge and fits no glob.
    pub other: u32,
    /// Index of the first of at most [`MAX_GLOBS`] globs; 0 where there are none.
    pub globs: u32,
    /// Number of edges by name; 0 spares the lookup.
    pub edges: u32,
    pub reserved: u32,
    /// By right: the first rule that allows it, 0 where none does.
    pub allow_rule: [u16; RIGHTS],
    /// By right: the first rule that denies it, 0 where none does. A tripwire comes before others, and has
    /// [`crate::verdict::TRIPWIRE`] beside its number.
    pub deny_rule: [u16; RIGHTS],
}

/// How the kernel knows a folder that the daemon opened; kept in BPF inode storage and read back by descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Our number of the superblock, given at the first look and gone with it.
    pub filesystem: u64,
    pub inode: u64,
    /// The filesystem type's magic number.
    pub magic: u64,
    pub generation: u32,
    /// [`FOLDS`], or 0.
    pub flags: u32,
}

/// The folder's filesystem may take names for equal that are not the same bytes, such as those that differ in case.
pub const FOLDS: u32 = 1;

/// Whether it may do so on every filesystem of a type, and says so of no name.
///
/// The magic numbers of NTFS as ntfs3 has it (fs/ntfs3/super.c) and as the drivers called ntfs have it (`NTFS_SB_MAGIC`): they
/// find a file by its short name as well, in any case (`SECRET~1`), and keep it under the name that was asked for.
#[inline(always)]
pub const fn folds_by_type(magic: u64) -> bool {
    matches!(magic, 0x7366_746e | 0x5346_544e)
}

/// The magic number of the filesystem that sockets are in (include/uapi/linux/magic.h: `SOCKFS_MAGIC`). No file of it has a
/// path. On its type hang the rules about abstract names of unix sockets, each of which is one name below.
pub const SOCKETS: u64 = 0x534f_434b;

/// The magic number of the filesystem of message queues (include/uapi/linux/magic.h: `MQUEUE_MAGIC`).
pub const QUEUES: u64 = 0x1980_0202;

/// Whether a filesystem type is judged by its type: what its files mean does not depend on which instance they are in.
///
/// The magic numbers of include/uapi/linux/magic.h for procfs, sysfs, cgroup2, cgroup, devpts, securityfs, debugfs,
/// tracefs, bpffs, mqueue, hugetlbfs, binfmt_misc, configfs, efivarfs, pstore, fusectl and autofs.
#[inline(always)]
pub const fn is_pseudo(magic: u64) -> bool {
    matches!(
        magic,
        0x9fa0
            | 0x6265_6572
            | 0x6367_7270
            | 0x0027_e0eb
            | 0x1cd1
            | 0x7363_6673
            | 0x6462_6720
            | 0x7472_6163
            | 0xcafe_4a11
            | QUEUES
            | 0x9584_58f6
            | 0x4249_4e4d
            | 0x6265_6570
            | 0xde5e_81e4
            | 0x6165_676c
            | 0x6573_5543
            | 0x0187
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_found_on_ntfs_whatever_drives_it() {
        assert!(folds_by_type(u64::from(u32::from_le_bytes(*b"ntfs"))));
        assert!(folds_by_type(u64::from(u32::from_le_bytes(*b"NTFS"))));
        for other in [0xef53, 0x0102_1994, BTRFS, 0x5846_5342, QUEUES, 0x4d44] {
            assert!(!folds_by_type(other), "{other:#x}");
        }
    }
}
