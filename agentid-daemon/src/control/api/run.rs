//! Runs as they are shown.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A run as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    pub id: Uuid,
    pub agent: String,
    pub owner: String,
    /// Whom the work is done for, where that is not the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    pub task: String,
    pub purpose: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub policy: String,
    pub params: BTreeMap<String, PathBuf>,
    /// `enforce` or `audit`.
    pub mode: String,
    /// `deny`, `freeze` or `kill`.
    pub on_end: String,
    pub parent: Option<Uuid>,
    /// All runs above it, the one right above first.
    pub above: Vec<Uuid>,
    /// How many runs live below it, which end and are held with it; only where runs are selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<u64>,
    pub command: Vec<String>,
    pub uid: u32,
    pub tgid: u32,
    /// Who has asked for it; `None` in records of earlier versions.
    #[serde(default)]
    pub issued_by: Option<IssuerView>,
    /// `active`, `suspended`, `stopping` or `ended`.
    pub phase: String,
    /// Whether its tasks are held still.
    #[serde(default)]
    pub frozen: bool,
    /// What it may use of the host, with those below it; only where its policy says so.
    #[serde(default)]
    pub limits: Option<LimitsView>,
    /// What it uses, likewise, while it lives; only where one run is shown.
    #[serde(default)]
    pub usage: Option<UsageView>,
    pub launched_ms: u64,
    pub deadline_ms: u64,
    /// Tasks alive.
    pub tasks: u64,
    pub totals: Option<TotalsView>,
    /// The addresses that names stand for now.
    #[serde(default)]
    pub names: Vec<NameView>,
    /// Sockets that the run has made and that are still there, whoever has them now; only where one run is shown, and no more
    /// than [`MOST_SOCKETS`] of them.
    #[serde(default)]
    pub sockets: Vec<SocketView>,
    /// How many there are beyond those.
    #[serde(default)]
    pub more_sockets: u64,
    /// Why they are not known, or not all of them.
    #[serde(default)]
    pub sockets_unknown: Option<String>,
    /// What was done to it since its launch.
    pub changes: Vec<ChangeView>,
    pub end: Option<EndView>,
}

/// A process that has asked for a run, at the moment of the asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerView {
    pub uid: u32,
    pub tgid: u32,
    /// The path of what it executed; `None` where the kernel did not tell.
    pub executable: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeView {
    pub at_ms: u64,
    pub by_uid: u32,
    pub reason: Option<String>,
    /// `suspended`, `resumed` or `extended`.
    pub what: String,
    /// By how much, where it was extended.
    pub by_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsView {
    /// Bytes, page cache included.
    pub memory: Option<u64>,
    pub tasks: Option<u32>,
    /// Hundredths of a processor.
    pub cpu: Option<u32>,
}

/// What the kernel has counted; `null` is what it does not count for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageView {
    /// Bytes.
    pub memory: Option<u64>,
    /// The most that it was.
    pub memory_peak: Option<u64>,
    pub tasks: Option<u64>,
    /// Microseconds of processors since the launch.
    pub cpu_us: Option<u64>,
    /// Processes that were killed because the memory was full.
    pub killed: Option<u64>,
}

/// Most sockets that are shown of a run.
pub const MOST_SOCKETS: usize = 1000;

/// A socket of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SocketView {
    /// `tcp`, `udp`, `icmp`, `unix`, `netlink`, or the numbers of another kind.
    pub protocol: String,
    /// In the words of `ss`: `listen`, `established`, `close` and so on, also for protocols that have no more states than
    /// connected and not.
    pub state: String,
    /// Its own address and port, where it is of IP.
    pub own: Option<String>,
    /// The other end's, where there is one.
    pub peer: Option<String>,
    /// Whether the other end came to it: it listens, or was accepted from one that does.
    pub serves: bool,
}

/// An address that the run may use because it has asked for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameView {
    /// As it was asked for; after a restart of the daemon, the pattern of the policy that means it.
    pub name: String,
    pub address: String,
    pub until_ms: u64,
}

/// What the kernel has counted of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TotalsView {
    /// Tasks ever started.
    pub started: u64,
    pub allowed: u64,
    pub denied: u64,
    pub faults: u64,
    pub records: u64,
    pub lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndView {
    pub ending: String,
    pub at_ms: u64,
    pub reason: Option<String>,
    pub by_uid: Option<u32>,
}

/// A live run and its processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeRun {
    pub run: RunView,
    pub processes: Vec<ProcessView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessView {
    pub tgid: u32,
    pub threads: u64,
    /// Its own name for itself.
    pub comm: Option<String>,
}
