//! What the ring carries.

use crate::{net::Address, tag::InvocationId};

/// Longest path in a record, its closing zero included. A longer one is left out.
pub const MAX_PATH: usize = 1024;

/// The record has no body: a refused fork, a guard, a system call without an object.
pub const KIND_PLAIN: u32 = 1;
/// A [`FileBody`] follows.
pub const KIND_FILE: u32 = 2;
/// A [`PeerBody`] follows.
pub const KIND_PEER: u32 = 3;
/// The last task of the run is gone.
pub const KIND_EMPTY: u32 = 4;

/// Start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Number of the record in its run, from 0, without gaps unless records were lost.
    pub sequence: u64,
    pub generation: u64,
    pub invocation: InvocationId,
    pub slot: u32,
    pub kind: u32,
    /// A [`crate::verdict::Hook`].
    pub hook: u32,
    /// A [`crate::verdict::Verdict`].
    pub verdict: u32,
    /// A [`crate::verdict::Reason`].
    pub reason: u32,
    /// A [`crate::verdict::Fault`].
    pub fault: u32,
    pub rule: u16,
    /// How many steps above the run stands the one whose rules say so; 0 for its own.
    pub above: u16,
    /// Process, as user space numbers it in the initial namespace.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    pub uid: u32,
    pub comm: [u8; 16],
}

/// The file of a decision.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBody {
    /// Rights that were asked.
    pub want: u32,
    /// Bytes of the path, without the closing zero; 0 when it could not be told.
    pub length: u32,
    /// 0: the path is as the task sees it (`bpf_d_path`). Else our number of the filesystem from whose root it is told.
    pub filesystem: u64,
    pub path: [u8; MAX_PATH],
}

/// The peer of a decision, or the run's own address, or the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerBody {
    pub address: Address,
    /// As the socket layer numbers it (`AF_INET` and so on).
    pub family: u16,
    /// For an option: its number.
    pub port: u16,
    pub protocol: u8,
    /// A [`crate::net::Verb`]; 0 when the socket is made, or an option of it set.
    pub verb: u8,
    /// For an option: its level.
    pub level: u16,
}

/// A record without an object.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainRecord {
    pub header: Header,
}

/// A record about a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord {
    pub header: Header,
    pub body: FileBody,
}

/// A record about a peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerRecord {
    pub header: Header,
    pub body: PeerBody,
}

/// One line of the list of tagged tasks, which the kernel writes into a file that the daemon reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskLine {
    pub generation: u64,
    pub slot: u32,
    pub tgid: u32,
    pub tid: u32,
    pub reserved: u32,
}

/// What a task shares: how many tasks have its memory, its table of descriptors, its working folder and root; 1 is itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareLine {
    /// Where the kernel has these three, which tells whether two tasks have the same; 0 when the task has let go of it.
    pub memory_at: u64,
    pub descriptors_at: u64,
    pub folder_at: u64,
    pub tgid: u32,
    pub tid: u32,
    pub memory: u32,
    pub descriptors: u32,
    pub folder: u32,
    /// 1 when it has set up or entered a ring of io_uring.
    pub ring: u32,
}

/// One line of the list of tagged sockets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketLine {
    /// Of the run that has made the socket.
    pub generation: u64,
    /// The number that no other socket of the host has while it runs (`SO_COOKIE`).
    pub cookie: u64,
    pub slot: u32,
    /// What [`crate::tag::Tag::mark`] says of it.
    pub mark: u32,
    /// Zeros where the socket has no address of IP, or none yet.
    pub own: Address,
    pub peer: Address,
    pub own_port: u16,
    pub peer_port: u16,
    pub family: u16,
    pub kind: u16,
    pub protocol: u16,
    /// As TCP counts them (include/net/tcp_states.h), also for other protocols.
    pub state: u16,
    /// The device that the socket is bound to, 0 for none.
    pub device: u32,
    /// 1 when no process has it.
    pub orphan: u32,
    pub reserved: u32,
}
