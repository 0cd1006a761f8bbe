//! The published schema. Fields are added, never changed.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One thing that happened to or in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number, which is larger than that of any event before it, on this host and for good. Gaps between numbers mean
    /// nothing: only `missed` and `dropped` say that there was something.
    #[serde(default)]
    pub seq: u64,
    /// Milliseconds since 1970, by the wall clock as it stood when the event was read.
    pub time_ms: u64,
    /// `None` for what concerns no run that is known.
    pub run: Option<RunName>,
    pub what: What,
}

/// Which run, and on whose behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunName {
    pub id: Uuid,
    pub agent: String,
    pub owner: String,
    pub task: String,
    /// `NAME@DIGEST`.
    pub policy: String,
    /// The runs above it, the one right above first.
    #[serde(default)]
    pub above: Vec<Uuid>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The kernel was asked and has answered.
    Access(Access),
    /// The run has asked the daemon for a name, or for what the name's records lead to.
    Name(Name),
    Launched(Launched),
    /// The run is denied everything from here on.
    Stopped(Stopped),
    /// The run is denied everything until it is resumed.
    Suspended(Held),
    Resumed(Held),
    Extended(Held),
    /// Another version of the run's policy is in force.
    Renewed(Renewed),
    /// The last task is gone.
    Ended(Ended),
    Posture(PostureChange),
    /// The policies were read again.
    Policies(Policies),
    /// Nothing is launched for an owner any more, or it is again.
    Owner(OwnerChange),
    /// Events that this reader was too slow for.
    Dropped(Dropped),
    /// Events between the number that this reader has named and the next one here, which are not known any more.
    Missed(Missed),
    /// The records of runs that ended long ago are gone.
    Forgotten(Forgotten),
}

impl What {
    /// Whether something was denied to the run, for whatever reason.
    pub fn is_denial(&self) -> bool {
        match self {
            Self::Access(access) => access.verdict == "deny" || access.verdict == "fault",
            Self::Name(name) => name.verdict == "deny",
            _ => false,
        }
    }
}

/// Something that the asking run was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnDenial {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    pub what: What,
    /// The smallest addition to the policy that would allow it, in the policy's language; `None` where a rule denies it, or
    /// no rule could grant it.
    pub grant: Option<String>,
}

/// Most denials that a run is told, the last ones, and how many bytes they take at most: a control character in a path is six of
/// them, and what does not fit into a socket is kept until it is read.
pub const MOST_DENIALS: usize = 100;
pub const MOST_OF_DENIALS: usize = 64 * 1024;

/// An answer of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// The run's own count of its records, taken in the kernel: a gap is a lost record.
    pub sequence: u64,
    pub hook: String,
    /// `allow`, `audit`, `deny` or `fault`.
    pub verdict: String,
    pub reason: Option<String>,
    pub fault: Option<String>,
    pub rule: Option<u32>,
    /// The run above whose policy says so, and has the rule; `None` when it is the run's own.
    #[serde(default)]
    pub by: Option<Uuid>,
    /// What the rule's author said of it.
    pub because: Option<String>,
    pub process: Process,
    pub object: Option<Object>,
    /// More of what is executed: of `bprm_check_security`, which is asked about it, and of `bprm_committed_creds`, which says
    /// that it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Box<Execution>>,
}

/// What is executed, beside the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Execution {
    /// Whether the file is the interpreter of a script.
    pub interprets: bool,
    /// The script, as who executes it has called it, so from his working folder on, or `/dev/fd/N` where it is a descriptor;
    /// `None` where there is none, or its name has more than 510 bytes.
    pub script: Option<String>,
    /// How many arguments the program has, its own name among them.
    pub argument_count: u32,
    /// The first of them, as many as `record_arguments` lets and there is room for; the last may be cut.
    pub arguments: Vec<String>,
    /// Why some or all are not here, or not whole: `setting`, `room`, or `unread`, which is always so where nothing was started.
    pub left_out: Option<String>,
}

/// The task that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub comm: String,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    File {
        /// As the task sees it; `None` where the kernel could not tell.
        path: Option<String>,
        want: Vec<String>,
    },
    /// An abstract name of a unix socket.
    AbstractSocket {
        /// Without the zero before it.
        name: String,
        /// `connect`, or `listen` for to take the name.
        want: Vec<String>,
    },
    /// A peer, or for `listen` and `accept` the run's own address.
    Peer {
        /// `None` for a family that is no IP.
        address: Option<String>,
        port: u16,
        protocol: String,
        /// As the socket layer numbers it.
        family: u16,
        /// `connect`, `send`, `listen` or `accept`.
        #[serde(default)]
        verb: Option<String>,
    },
    /// A socket to be made, as the socket layer numbers it.
    Socket { family: u16, protocol: u8 },
    /// An option of a socket to be set, as the socket layer numbers it.
    SocketOption { level: u16, option: u16 },
    /// A capability, as capabilities(7) names it without `CAP_`; a number where it has none.
    Capability { name: String },
}

/// A name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Name {
    /// In lower case, without the dot at its end.
    pub name: String,
    /// The type of the record that was asked for, such as `A`.
    pub record: String,
    /// `allow`, `audit` or `deny`.
    pub verdict: String,
    /// `no_rule`, `deny_rule`, `tripwire`, `long_name`, `crowded` when the run asks more at a time than its share, whatever
    /// the name, or `special_address` when the name is granted and these addresses are not.
    pub reason: Option<String>,
    pub rule: Option<u32>,
    /// The run above whose policy says so, and has the rule; `None` when it is the run's own.
    #[serde(default)]
    pub by: Option<Uuid>,
    /// What the rule's author said of it.
    pub because: Option<String>,
    pub addresses: Vec<String>,
    /// How many of the run's names had no record before this one, because there were too many.
    pub unrecorded: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Launched {
    pub uid: u32,
    pub tgid: u32,
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    pub purpose: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub params: BTreeMap<String, PathBuf>,
    /// `enforce` or `audit`.
    #[serde(default)]
    pub mode: String,
    /// `deny`, `freeze` or `kill`.
    #[serde(default)]
    pub on_end: String,
    /// Milliseconds since 1970, as of the deadline.
    #[serde(default)]
    pub launched_ms: u64,
    #[serde(default)]
    pub deadline_ms: u64,
    /// Who has asked for it.
    #[serde(default)]
    pub issued_by: Option<LaunchIssuer>,
    /// What it may use of the host, where its policy says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LaunchLimits>,
}

/// A process that has asked for a run, at the moment of the asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchIssuer {
    pub uid: u32,
    pub tgid: u32,
    /// The path of what it executed; `None` where the kernel did not tell.
    pub executable: Option<String>,
}

/// What a run, with those below it, may use of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchLimits {
    /// Bytes.
    pub memory: Option<u64>,
    pub tasks: Option<u32>,
    /// Hundredths of a processor.
    pub cpu: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stopped {
    pub ending: String,
    pub reason: Option<String>,
    pub by_uid: Option<u32>,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub at_ms: u64,
}

/// A run that goes on otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    pub by_uid: u32,
    pub reason: Option<String>,
    /// Its deadline from now on, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// Whether its tasks stand still from now on.
    #[serde(default)]
    pub frozen: bool,
}

/// A version of a run's policy that is not in force any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renewed {
    /// `NAME@DIGEST`, as the run had it; it stays in force when there is a mistake.
    pub from: String,
    /// Why the run could not be bound to the version that new runs get.
    pub mistake: Option<String>,
    /// What the version in force says, unless there is a mistake: `enforce` or `audit`, and `deny`, `freeze` or `kill`.
    pub mode: Option<String>,
    pub on_end: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    pub ending: String,
    pub reason: Option<String>,
    pub by_uid: Option<u32>,
    /// How many records the kernel has numbered for this run, from 0; the last says that no task is left, and is this
    /// event. Whoever has read one access less than that has read all. `None` where the kernel had none to tell: the
    /// run never began, or the machine was restarted.
    pub records: Option<u64>,
    /// How many of them the ring had no room for.
    pub lost: Option<u64>,
    /// When it was over, in milliseconds since 1970: the moment from which on it was denied everything.
    #[serde(default)]
    pub at_ms: u64,
    /// Tasks ever started, and what the kernel has answered; `None` as above.
    pub started: Option<u64>,
    pub allowed: Option<u64>,
    pub denied: Option<u64>,
    pub faults: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostureChange {
    pub posture: String,
    pub why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policies {
    /// What new runs get from here on: `NAME@DIGEST` of each.
    pub offered: Vec<String>,
    /// With any mistake they are those from before.
    pub mistakes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerChange {
    pub owner: String,
    pub denied: bool,
    pub by_uid: u32,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// How many; `None` where that is not known, and there may be none.
    pub count: Option<u64>,
    /// `evicted`: there have been too many events since. `restarted`: the daemon has started since, and knows none from
    /// before. `unknown`: the number has never been given.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Forgotten {
    pub runs: Vec<Uuid>,
}
