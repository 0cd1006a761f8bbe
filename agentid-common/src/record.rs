//! What the ring carries.

use crate::{net::Address, tag::InvocationId};

/// Longest path in a record, its closing zero included. A longer one is left out.
pub const MAX_PATH: usize = 1024;
/// Longest name of a script in a record, its closing zero included. A longer one is left out.
pub const MAX_SCRIPT: usize = 512;
/// Most bytes of a program's arguments in a record, their closing zeros included. What comes after them is left out.
pub const MAX_ARGUMENTS: usize = 256;

/// The record has no body: a refused fork, a guard, a system call without an object.
pub const KIND_PLAIN: u32 = 1;
/// A [`FileBody`] follows.
pub const KIND_FILE: u32 = 2;
/// A [`PeerBody`] follows.
pub const KIND_PEER: u32 = 3;
/// The last task of the run is gone.
pub const KIND_EMPTY: u32 = 4;
/// A [`FileBody`] and an [`ExecBody`] follow.
pub const KIND_EXEC: u32 = 5;

/// Nothing is left out of the arguments.
pub const LEFT_NOTHING: u32 = 0;
/// The daemon's settings leave some out, or all.
pub const LEFT_BY_SETTING: u32 = 1;
/// There was no room for all.
pub const LEFT_FOR_ROOM: u32 = 2;
/// They cannot be read: the memory that they are in is not the task's yet, or not there.
pub const LEFT_UNREAD: u32 = 3;

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

/// The first sign of a path that is none, but an abstract name of a unix socket, which follows.
pub const ABSTRACT: u8 = b'@';

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

/// What is executed, beside the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecBody {
    /// How many arguments the program is given, its name among them.
    pub count: u32,
    /// Bytes of them that are here.
    pub length: u32,
    /// What is not here: `LEFT_NOTHING` and so on.
    pub left_out: u32,
    /// Bytes of the script's name, with the closing zero. 0: there is no script that the file is the interpreter of.
    /// `MAX_SCRIPT`: there is one, and its name is too long, or could not be read.
    pub script_length: u32,
    /// As who executes it has called it, so from his working folder on.
    pub script: [u8; MAX_SCRIPT],
    /// Each with a closing zero, but for one that is cut.
    pub arguments: [u8; MAX_ARGUMENTS],
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

/// A record about an execution.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    pub header: Header,
    pub body: FileBody,
    pub exec: ExecBody,
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
