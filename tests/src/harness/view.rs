//! What `agentid --json` prints, as far as tests read it.

use serde::Deserialize;

/// An element of `ps`, and all of `show`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunView {
    pub id: String,
    pub policy: String,
    pub phase: String,
    /// Whether its tasks stand still.
    #[serde(default)]
    pub frozen: bool,
    pub owner: String,
    pub task: String,
    /// The runs above it, the one right above first.
    #[serde(default)]
    pub above: Vec<String>,
    /// How many live below it; only where runs are selected.
    #[serde(default)]
    pub below: Option<u64>,
    /// Who has asked for it.
    #[serde(default)]
    pub issued_by: Option<Issuer>,
    pub deadline_ms: u64,
    /// Tasks alive.
    pub tasks: u64,
    pub totals: Option<Totals>,
    /// Only in `show`.
    #[serde(default)]
    pub sockets: Vec<SocketView>,
    /// What was done to it.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// What it may use of the host.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// What it uses; only in `show`.
    #[serde(default)]
    pub usage: Option<Usage>,
    pub end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Issuer {
    pub uid: u32,
    pub tgid: u32,
    pub executable: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Limits {
    pub memory: Option<u64>,
    pub tasks: Option<u32>,
    pub cpu: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Usage {
    pub memory: Option<u64>,
    pub memory_peak: Option<u64>,
    pub tasks: Option<u64>,
    pub cpu_us: Option<u64>,
    pub killed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SocketView {
    pub protocol: String,
    pub state: String,
    pub own: Option<String>,
    pub peer: Option<String>,
    pub serves: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Change {
    pub what: String,
    pub by_uid: u32,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Totals {
    pub started: u64,
    pub allowed: u64,
    pub denied: u64,
    pub faults: u64,
    pub records: u64,
    pub lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct End {
    pub ending: String,
    pub reason: Option<String>,
    pub by_uid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Revoked {
    pub id: String,
    /// Runs below it.
    pub also: Vec<String>,
    pub tasks: u64,
    pub remaining: u64,
    pub connections: u64,
    pub denied_after_ms: f64,
    pub hung_up_after_ms: Option<f64>,
    pub frozen_after_ms: Option<f64>,
}

/// What `suspend`, `resume` and `extend` print.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Changed {
    pub runs: Vec<ChangedRun>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ChangedRun {
    pub id: String,
    pub phase: String,
    pub deadline_ms: u64,
}

/// What `revoke` prints of several runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RevokedAll {
    pub runs: Vec<Revoked>,
}

/// An element of `events`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    pub run: Option<EventRun>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EventRun {
    pub id: String,
    /// The runs above it, the one right above first.
    #[serde(default)]
    pub above: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    Access(Access),
    Stopped(End),
    Ended(Ended),
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ended {
    pub records: Option<u64>,
    pub lost: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Access {
    pub sequence: u64,
    pub hook: String,
    pub verdict: String,
    pub reason: Option<String>,
    pub fault: Option<String>,
    pub rule: Option<u32>,
    pub by: Option<String>,
    pub because: Option<String>,
    pub object: Option<Object>,
    #[serde(default)]
    pub execution: Option<Box<Execution>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Execution {
    pub interprets: bool,
    pub script: Option<String>,
    pub argument_count: u32,
    pub arguments: Vec<String>,
    pub left_out: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    File { path: Option<String>, want: Vec<String> },
    AbstractSocket { name: String, want: Vec<String> },
    Peer { address: Option<String>, port: u16 },
    Capability { name: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Why {
    /// `allow`, `audit`, `deny` or `fault`.
    pub verdict: String,
    #[serde(default)]
    pub errno: Option<String>,
    /// What would change it.
    #[serde(default)]
    pub grant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PolicyView {
    pub name: String,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Status {
    pub posture: String,
    /// What is missing, where something is.
    pub why: Option<String>,
    pub active: u64,
    pub stopping: u64,
    #[serde(default)]
    pub policy_mistakes: Vec<String>,
    pub unsaved: u64,
    #[serde(default)]
    pub policies: Vec<PolicyView>,
    pub hooks: Vec<Hook>,
    pub maps: Vec<Table>,
}

/// A table of the kernel programs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Table {
    pub name: String,
    pub entries: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Hook {
    pub name: String,
    /// Whether it should be attached now.
    pub needed: bool,
    pub attached: bool,
}
