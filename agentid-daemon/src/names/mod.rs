//! The resolver of runs: their questions for names, which the kernel programs turn here, and the answers.
//!
//! ```text
//!   run ──▶ server ──Ask──▶ supervisor: whose question is it, and is the name granted?
//!             │  ◀──Verdict──
//!             ├──▶ upstream: the host's own servers of names
//!             │  ◀── answer
//!             ├──Found──▶ supervisor: pins the addresses in the kernel's tables
//!   run ◀─────┘
//! ```
//!
//! What comes from a run and what comes from a server of names is parsed here, and nowhere else. An answer is kept for the run
//! that had it, for as long as it is good: what is granted again needs no server, and no write to the kernel's tables.

pub mod answer;
mod memory;
mod reply;
pub mod server;
mod shares;
pub mod upstream;

use std::net::{IpAddr, SocketAddr};

use agentid_common::net::Asker;
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait for the supervisor; others wait until they may.
pub const QUEUE: usize = 256;

/// What the resolver asks of the supervisor.
#[derive(Debug)]
pub enum Request {
    Ask(Ask),
    Found(Found),
    /// This run, with those that stand on the same one, has more of the resolver than its share.
    Crowds(Asker),
}

pub type Requests = mpsc::Receiver<Request>;

/// Somebody asks for a name.
#[derive(Debug)]
pub struct Ask {
    /// Number of UDP or TCP in the IP header.
    pub protocol: u8,
    pub from: SocketAddr,
    /// In lower case, without the dot at its end.
    pub name: String,
    /// The type of the record, as DNS calls it.
    pub kind: String,
    /// The name is longer than any that is passed on.
    pub long: bool,
    pub reply: oneshot::Sender<Verdict>,
}

/// Whether the question is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is, for this run. An answer that it had under another edition of the rules and the pins is no longer good.
    Granted { run: uuid::Uuid, edition: u64 },
    /// The rules of this run do not grant the name.
    Denied(uuid::Uuid),
    /// This run has asked too often.
    Limited(uuid::Uuid),
    /// No run that lives has asked.
    Nobody,
}

/// The answer to a question that was passed on.
#[derive(Debug)]
pub struct Found {
    pub run: uuid::Uuid,
    pub name: String,
    pub kind: String,
    /// Addresses that the name stands for, and for how many seconds.
    pub addresses: Vec<(IpAddr, u32)>,
    pub reply: oneshot::Sender<Pinned>,
}

/// What became of the addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinned {
    /// The run may use these, for at least the given number of seconds. Those that are missing are no addresses for a name of
    /// its rules. The edition is that of the rules and the pins from now on.
    These { kept: Vec<IpAddr>, most: u32, edition: u64 },
    /// The tables have no room, or cannot be written.
    Full,
    /// The run is over.
    #[default]
    Over,
}
