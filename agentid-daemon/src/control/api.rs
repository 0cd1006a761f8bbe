//! The whole protocol: HTTP with JSON bodies, over a Unix socket.
//!
//! | Request | Answer | Who may ask |
//! |---|---|---|
//! | `GET /v1/whoami` | [`WhoAmI`] | anyone, tagged tasks included |
//! | `GET /v1/self/denials` | list of `OwnDenial` of the events | a run, for its own |
//! | `POST /v1/runs` with [`LaunchRequest`] | [`LaunchReply`] | any user; the run is the asking process |
//! | `GET /v1/runs?all=true` | list of [`RunView`] | any user, for its own runs; operators for all |
//! | `GET /v1/runs/ID` | [`RunView`] | likewise |
//! | `POST /v1/runs/ID/revoke` with [`RevokeRequest`] | [`RevokeReply`] | likewise |
//! | `POST /v1/delegate` with [`DelegateRequest`] | [`LaunchReply`] | a run; the new run is the asking process |
//! | `POST /v1/adopt` with [`AdoptRequest`] | [`AdoptReply`] | operators |
//! | `POST /v1/select` with [`SelectRequest`] | list of [`RunView`] | likewise |
//! | `POST /v1/revoke` with [`RevokeAllRequest`] | [`RevokeAllReply`] | likewise |
//! | `POST /v1/suspend`, `/v1/resume`, `/v1/extend` with [`ChangeRequest`] | [`ChangeReply`] | likewise |
//! | `GET /v1/tree` | list of [`TreeRun`] | likewise |
//! | `POST /v1/owners/deny`, `/v1/owners/allow` with [`OwnerRequest`] | [`OwnerReply`] | operators |
//! | `POST /v1/runs/ID/why` with [`WhyRequest`] | [`WhyReply`] | likewise |
//! | `GET /v1/events?follow=true&id=ID` | events, one in each server-sent `data:` line | likewise |
//! | `GET /v1/status` | [`StatusReply`] | any user |
//! | `GET /v1/policies`, `/v1/policies/NAME[@DIGEST]` | list of [`PolicyInForce`], [`PolicySource`] | any user |
//!
//! Everything but a 2xx status carries an [`ErrorReply`]. An `ID` may be cut short as long as one run alone has it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::policy::{PolicyInForce, PolicySource};

mod policy;

/// Largest body of a request, in bytes. Checked before anything is parsed.
pub const MAX_BODY: usize = 64 * 1024;

/// Asks that the peer of this connection becomes the first process of a run.
///
/// It must have one thread and no tracer. From the answer on, everything that its policy does not grant is denied to it
/// and to all that it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchRequest {
    pub policy: String,
    pub agent: String,
    pub owner: String,
    pub task: String,
    #[serde(default)]
    pub purpose: Option<String>,
    #[serde(default)]
    pub params: BTreeMap<String, PathBuf>,
    /// The policy's own when left out.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// ID of the run above this one.
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What will be executed; for people only.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Asks, from within a run, that the peer of this connection becomes the first process of a run below it.
///
/// Its policy must be among those that the run's own policy delegates to. The owner is the run's. It is held to the rules
/// and the life of the run above, and of all above that, as well as to its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegateRequest {
    pub policy: String,
    /// The asking run's when left out, as are the task and the purpose.
    #[serde(default)]
    pub agent: Option<String>,
    #[serde(default)]
    pub task: Option<String>,
    #[serde(default)]
    pub purpose: Option<String>,
    #[serde(default)]
    pub params: BTreeMap<String, PathBuf>,
    /// The policy's own when left out; never beyond the deadline of the run above.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What will be executed; for people only.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Asks that processes which run already become a run, with all that they will start.
///
/// All of them stand still while they are tagged, and none of them is missed, or nothing changes. What they have open stays
/// open; what they open from then on is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    pub from: AdoptFrom,
    pub policy: String,
    pub agent: String,
    pub owner: String,
    pub task: String,
    #[serde(default)]
    pub purpose: Option<String>,
    #[serde(default)]
    pub params: BTreeMap<String, PathBuf>,
    /// The policy's own when left out.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// ID of the run above this one.
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdoptFrom {
    /// A process, by its number in the host's namespace, and its descendants.
    Process(u32),
    /// All processes of a cgroup of the v2 hierarchy and of those below it.
    Cgroup(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptReply {
    pub run: LaunchReply,
    /// What has become the run.
    pub processes: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchReply {
    pub id: Uuid,
    /// `NAME@DIGEST`.
    pub policy: String,
    pub deadline_ms: u64,
}

/// A run as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    pub id: Uuid,
    pub agent: String,
    pub owner: String,
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
    pub command: Vec<String>,
    pub uid: u32,
    pub tgid: u32,
    /// `active`, `suspended`, `stopping` or `ended`.
    pub phase: String,
    /// Whether its tasks are held still.
    #[serde(default)]
    pub frozen: bool,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    pub at_ms: u64,
    pub by_uid: u32,
    pub reason: Option<String>,
    /// `suspended`, `resumed` or `extended`.
    pub what: String,
    /// By how much, where it was extended.
    pub by_ms: Option<u64>,
}

/// Most sockets that are shown of a run.
pub const MOST_SOCKETS: usize = 1000;

/// A socket of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameView {
    /// As it was asked for; after a restart of the daemon, the pattern of the policy that means it.
    pub name: String,
    pub address: String,
    pub until_ms: u64,
}

/// What the kernel has counted of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsView {
    /// Tasks ever started.
    pub started: u64,
    pub allowed: u64,
    pub denied: u64,
    pub faults: u64,
    pub records: u64,
    pub lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndView {
    pub ending: String,
    pub at_ms: u64,
    pub reason: Option<String>,
    pub by_uid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    #[serde(default)]
    pub reason: Option<String>,
    /// Kills the tasks whatever the policy says, also those that a run which is over has left.
    #[serde(default)]
    pub kill: bool,
}

/// What a revocation did. Times count from the arrival of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokeReply {
    pub id: Uuid,
    /// Runs below this one that ended with it.
    pub also: Vec<Uuid>,
    /// Tasks that were alive when the kernel's table said "revoked".
    pub tasks: u64,
    /// Of those, the ones that were still there when this answer was given: the policy may let them go on, denied.
    pub remaining: u64,
    /// Until the kernel denied everything.
    pub denied_after_ms: f64,
    /// Until the last task was gone.
    pub stopped_after_ms: Option<f64>,
}

/// Runs by what they are. All that is given must hold; nothing given selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    pub id: Option<String>,
    pub agent: Option<String>,
    pub owner: Option<String>,
    pub task: Option<String>,
    /// Name of the policy, whatever its version.
    pub policy: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Launched at least this long ago.
    pub older_than_ms: Option<u64>,
    /// ID of the run right above.
    pub children_of: Option<String>,
    /// Every run that the caller may see.
    pub all: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectRequest {
    #[serde(default)]
    pub select: Selector,
    /// Also those that have ended.
    #[serde(default)]
    pub ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllRequest {
    pub select: Selector,
    #[serde(default)]
    pub reason: Option<String>,
    /// As for one run.
    #[serde(default)]
    pub kill: bool,
}

/// What a revocation of several runs did: all of them are denied everything before any task is stopped. Times count from
/// the arrival of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RevokeAllReply {
    pub runs: Vec<RevokeReply>,
    /// Until the kernel denied all of them everything.
    pub denied_after_ms: f64,
    /// Until the last task of all was gone.
    pub stopped_after_ms: Option<f64>,
}

/// Suspends, resumes or extends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    pub select: Selector,
    #[serde(default)]
    pub reason: Option<String>,
    /// By how much, for an extension.
    #[serde(default)]
    pub by_ms: Option<u64>,
    /// Whether the tasks stand still until the run is resumed, for a suspension; they do when it is left out.
    #[serde(default)]
    pub freeze: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReply {
    pub runs: Vec<ChangedRun>,
}

/// A selected run as it stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRun {
    pub id: Uuid,
    pub agent: String,
    pub owner: String,
    pub task: String,
    pub phase: String,
    pub deadline_ms: u64,
    /// Why it is as it was.
    pub error: Option<ErrorReply>,
}

/// Asks whether a run would be allowed something now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WhyRequest {
    Open {
        path: PathBuf,
        want: Vec<String>,
    },
    Connect(Endpoint),
    /// A peer that is known by a name.
    ConnectName(NamedEndpoint),
    Send(Endpoint),
    Listen(Endpoint),
    Accept(Endpoint),
    /// A capability, as policies name it.
    Capability(String),
}

/// One end of a conversation: the peer's, or for `listen` and `accept` the run's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub address: std::net::IpAddr,
    /// Means nothing for ICMP.
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

/// A peer by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedEndpoint {
    pub name: String,
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

/// What rules can name, as they name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Icmp,
}

/// The answer of the decision itself, run on the daemon's copy of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    /// `allow`, `audit`, `deny` or `fault`.
    pub verdict: String,
    pub reason: Option<String>,
    pub fault: Option<String>,
    pub rule: Option<u16>,
    /// The rule as its document has it.
    pub rule_text: Option<String>,
    pub because: Option<String>,
    /// One sentence for people.
    pub explanation: String,
    /// The addresses that the asked name stands for now.
    #[serde(default)]
    pub names: Vec<NameView>,
}

impl WhyReply {
    /// The verdict, and the rule that it comes from, in lines.
    pub fn grounds(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", self.verdict, self.explanation)];
        if let (Some(rule), Some(text)) = (self.rule, &self.rule_text) {
            lines.push(format!("rule {rule}: {text}"));
        }
        lines.extend(self.because.iter().map(|because| format!("because: {because}")));
        lines
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    pub uid: u32,
    pub operator: bool,
    /// The run that the asking task belongs to.
    pub run: Option<Uuid>,
}

/// A live run and its processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRun {
    pub run: RunView,
    pub processes: Vec<ProcessView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    pub tgid: u32,
    pub threads: u64,
    /// Its own name for itself.
    pub comm: Option<String>,
}

/// Has nothing launched for an owner any more, or has it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRequest {
    pub owner: String,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerReply {
    pub owner: String,
    pub denied: bool,
    /// Runs of this owner that live; they go on.
    pub live: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerView {
    pub owner: String,
    pub at_ms: u64,
    pub by_uid: u32,
    pub reason: Option<String>,
}

/// What was wanted of this host beside what it gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    pub version: String,
    pub abi: u32,
    /// `enforcing`, `degraded` or `off`.
    pub posture: String,
    pub why: Option<String>,
    pub started_ms: u64,
    pub active: u64,
    pub suspended: u64,
    pub stopping: u64,
    pub slots: u64,
    pub hooks: Vec<HookView>,
    pub maps: Vec<MapView>,
    pub policies: Vec<PolicyView>,
    /// What was wrong with the policies when they were read last, so that those from before are in force; told to
    /// operators.
    pub policy_mistakes: Vec<String>,
    /// Owners for whom nothing is launched; told to operators.
    pub denied_owners: Vec<OwnerView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookView {
    pub name: String,
    /// False while no run needs it: what every process of the host pays for is attached only on demand.
    pub needed: bool,
    pub attached: bool,
    pub why_not: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapView {
    pub name: String,
    pub entries: u64,
    pub capacity: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    pub name: String,
    pub digest: String,
    pub description: Option<String>,
    pub params: Vec<String>,
}

/// Why a request was refused. `code` is stable, the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    pub code: Code,
    pub message: String,
    /// What to do next.
    pub remedy: Option<String>,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $code:ident = $status:literal, $text:literal;)*) => {
        /// Every error that the daemon answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$meta])* $code,)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }
        }
    };
}

codes! {
    /// The request cannot be read, or a field has a value that is not allowed.
    BadRequest = 400, "bad_request";
    /// No such route.
    NoRoute = 404, "no_route";
    /// The body is larger than [`MAX_BODY`].
    TooLarge = 413, "too_large";
    /// The caller may not ask this.
    Forbidden = 403, "forbidden";
    /// The caller belongs to a run; runs may only ask who they are, and delegate.
    Tagged = 403, "tagged";
    UnknownPolicy = 404, "unknown_policy";
    /// No run, or more than one, has this ID.
    UnknownRun = 404, "unknown_run";
    /// The run is over already.
    Ended = 409, "ended";
    /// The run is not in the state that the request is for.
    BadState = 409, "bad_state";
    /// The request goes beyond what the run was promised.
    Bound = 422, "bound";
    /// The parameters are not the policy's, or not usable.
    BadParams = 422, "bad_params";
    /// The process that asks cannot become a run.
    BadProcess = 422, "bad_process";
    /// Nothing is launched for this owner.
    OwnerDenied = 403, "owner_denied";
    /// The policy of the asking run does not delegate this, or not as often or as deep.
    NotDelegated = 403, "not_delegated";
    /// The run above this one cannot have another below it.
    BadParent = 422, "bad_parent";
    /// A table of the kernel or of the daemon is full.
    Full = 503, "full";
    /// This host does not enforce now, so nothing is launched.
    NotEnforcing = 503, "not_enforcing";
    /// The daemon is stopping.
    Stopping = 503, "stopping";
    /// The kernel or the disk refused; the daemon's log has more.
    Internal = 500, "internal";
}

impl ErrorReply {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None }
    }

    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
