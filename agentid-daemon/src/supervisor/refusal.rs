//! Why something that was asked is not done, and what the caller reads about it.

use std::{path::PathBuf, time::Duration};

use thiserror::Error;
use uuid::Uuid;

use crate::{
    control::api::{Code, ErrorReply},
    instance::{Ambiguous, Ending},
};

/// A request that is understood and refused; nothing has changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("{field} is missing: every run has an agent, an owner and a task")]
    Missing { field: &'static str },
    #[error("{field} has {length} characters, at most {limit} are allowed")]
    Long { field: String, length: usize, limit: usize },
    #[error("{field} contains a control character")]
    Control { field: String },
    #[error("{count} labels are given, at most {limit} are allowed")]
    ManyLabels { count: usize, limit: usize },
    #[error("what is said of the run has {bytes} bytes, at most {limit} are allowed")]
    MuchSaid { bytes: usize, limit: usize },
    #[error("the time to live is zero")]
    NoTtl,
    #[error(
        "a time to live of {} is longer than the policy's max_ttl, {}",
        time(asked_ms),
        time(limit_ms)
    )]
    LongTtl { asked_ms: u64, limit_ms: u64 },
    #[error("no policy is called {name:?}")]
    UnknownPolicy { name: String, known: Vec<String> },
    #[error("policy {policy:?} needs parameter {param:?}")]
    MissingParam { policy: String, param: String },
    #[error("policy {policy:?} has no parameter {param:?}")]
    UnknownParam { policy: String, param: String, known: Vec<String> },
    #[error("parameter {param:?} is {}, which is no absolute path", path.display())]
    RelativeParam { param: String, path: PathBuf },
    #[error("parameter {param:?} is {}, which is no existing folder", path.display())]
    NoFolder { param: String, path: PathBuf },
    #[error("the asking process has {0} threads; a run starts from a process with one")]
    Threads(usize),
    #[error("the asking process is traced by process {0}")]
    Traced(u32),
    #[error("run {id} was suspended by user {by_uid}, who alone may resume it, or an operator")]
    HeldByOther { id: Uuid, by_uid: u32 },
    #[error("user {uid} has {limit} runs that live, and may have no more at once")]
    Crowd { uid: u32, limit: usize },
    #[error("files of other users could give the asking process, and what it starts, their rights")]
    MayGain,
    #[error("the asking process has a ring of io_uring {0}")]
    Ring(String),
    #[error("descriptor {0} of the asking process is a socket that listens")]
    Listens(i32),
    #[error("descriptor {0} of the asking process is a folder")]
    Folder(i32),
    #[error("descriptor {number} of the asking process is open: {what}")]
    Open { number: i32, what: String },
    #[error("the asking process has {0} mapped that it may write and others see")]
    Mapped(String),
    #[error("the descriptors of the asking process change while it asks")]
    Changing,
    #[error("the asking process shares its {0} with another one")]
    Shares(&'static str),
    #[error("what the asking process would bring along cannot be seen: {0}")]
    Unseen(String),
    #[error("the asking process is gone")]
    Gone,
    #[error("the asking process belongs to run {0} already")]
    Tagged(Uuid),
    #[error("all {0} slots for runs are taken")]
    NoSlot(u32),
    #[error("the kernel's tables have no room for this run: {0}")]
    NoRoom(String),
    #[error("this host does not enforce: {0}")]
    NotEnforcing(String),
    #[error("run {0} is over and cannot have another below it")]
    ParentEnded(Uuid),
    #[error("run {0} is suspended and cannot have another below it")]
    ParentSuspended(Uuid),
    #[error("run {parent} is {depth} runs deep already, and {limit} is the limit")]
    Deep { parent: Uuid, depth: u32, limit: u32 },
    #[error(transparent)]
    Run(#[from] Ambiguous),
    #[error("run {id} is over already: {}", ending.name())]
    Ended { id: Uuid, ending: Ending },
    #[error("policy {policy:?} delegates nothing")]
    NoDelegation { policy: String },
    #[error("policy {policy:?} does not delegate to policy {name:?}")]
    NotDelegated { policy: String, name: String, known: Vec<String> },
    #[error("policy {policy:?} lets a run have {limit} runs right below it at a time")]
    FanOut { policy: String, limit: u32 },
    #[error("policy {policy:?} lets {limit} levels of runs stand below a run")]
    Levels { policy: String, limit: u32 },
    #[error("the asking process is the last one of its run, which would end with its leaving")]
    LastTask,
    #[error("nothing is launched for owner {owner:?}{}", because(reason.as_deref()))]
    OwnerDenied { owner: String, reason: Option<String> },
    #[error("owner {0:?} is not denied")]
    OwnerAllowed(String),
    #[error("run {0} is suspended already")]
    Suspended(Uuid),
    #[error("run {0} is not suspended")]
    NotSuspended(Uuid),
    #[error("an extension by nothing is none")]
    NoExtension,
    #[error("the deadline of run {0} has passed")]
    Late(Uuid),
    #[error("the policy's max_ttl leaves run {id} {} more", time(left_ms))]
    LongExtension { id: Uuid, left_ms: u64 },
    #[error("the run above {id} ends {} after it", time(left_ms))]
    BeyondParent { id: Uuid, left_ms: u64 },
    #[error("nothing is selected by nothing")]
    NoSelection,
    #[error("a run of policy {policy:?} cannot be held to its limits: {why}")]
    NoLimits { policy: String, why: String, remedy: &'static str },
    #[error(
        "policy {policy:?} limits what its runs use, and what runs already is not brought below that"
    )]
    LimitsAtLaunch { policy: String },
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Missing { .. }
            | Self::Long { .. }
            | Self::Control { .. }
            | Self::ManyLabels { .. }
            | Self::NoTtl
            | Self::LongTtl { .. } => Code::BadRequest,
            Self::MuchSaid { .. } => Code::TooLarge,
            Self::UnknownPolicy { .. } => Code::UnknownPolicy,
            Self::MissingParam { .. }
            | Self::UnknownParam { .. }
            | Self::RelativeParam { .. }
            | Self::NoFolder { .. } => Code::BadParams,
            Self::Threads(_) | Self::Traced(_) | Self::Gone => Code::BadProcess,
            Self::Ring(_) | Self::Listens(_) | Self::Folder(_) | Self::Open { .. } => {
                Code::BadProcess
            }
            Self::Shares(_) | Self::Mapped(_) | Self::Changing | Self::MayGain => Code::BadProcess,
            Self::Unseen(_) => Code::NotEnforcing,
            Self::Tagged(_) => Code::Tagged,
            Self::HeldByOther { .. } => Code::Forbidden,
            Self::NoSlot(_) | Self::NoRoom(_) | Self::Crowd { .. } => Code::Full,
            Self::NotEnforcing(_) => Code::NotEnforcing,
            Self::ParentEnded(_) | Self::ParentSuspended(_) | Self::Deep { .. } => Code::BadParent,
            Self::Run(_) => Code::UnknownRun,
            Self::Ended { .. } | Self::Late(_) => Code::Ended,
            Self::NoDelegation { .. }
            | Self::NotDelegated { .. }
            | Self::FanOut { .. }
            | Self::Levels { .. } => Code::NotDelegated,
            Self::OwnerDenied { .. } => Code::OwnerDenied,
            Self::OwnerAllowed(_) => Code::BadState,
            Self::LastTask => Code::BadProcess,
            Self::Suspended(_) | Self::NotSuspended(_) => Code::BadState,
            Self::NoExtension | Self::NoSelection => Code::BadRequest,
            Self::LongExtension { .. } | Self::BeyondParent { .. } => Code::Bound,
            Self::NoLimits { .. } => Code::NotEnforcing,
            Self::LimitsAtLaunch { .. } => Code::BadProcess,
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { field } => format!("give it with --{field}"),
            Self::MuchSaid { .. } => {
                "shorten its labels, its purpose, or the paths of its parameters".to_owned()
            }
            Self::NoTtl => "leave it out for the policy's own".to_owned(),
            Self::LongTtl { limit_ms, .. } => format!("ask for at most {}", time(limit_ms)),
            Self::UnknownPolicy { known, .. } => listed("the policies are", "no policy is in force: put one into /etc/agentid/policies.d, then systemctl reload agentid", known),
            Self::MissingParam { param, .. } => format!("give it with --param {param}=FOLDER"),
            Self::UnknownParam { known, .. } => listed("its parameters are", "it has none: leave --param out", known),
            Self::RelativeParam { .. } => "give the path from / on".to_owned(),
            Self::NoFolder { .. } => "create the folder first, or name another".to_owned(),
            Self::Threads(_) => {
                "ask before any thread is started, as `agentid run` does".to_owned()
            }
            Self::Traced(_) => "detach the tracer (strace, gdb) and try again".to_owned(),
            Self::HeldByOther { by_uid, .. } => {
                format!("ask user {by_uid}, or one of those who may do what root may here")
            }
            Self::Crowd { .. } => {
                "end some with agentid revoke, or raise runs_per_user in agentid.toml".to_owned()
            }
            Self::MayGain => {
                "ask with PR_SET_NO_NEW_PRIVS set, as `agentid run` of this version does".to_owned()
            }
            Self::Ring(_) => "close it and unmap it before, or execute something anew".to_owned(),
            Self::Listens(_) | Self::Folder(_) => {
                "close it before, as well as its copies".to_owned()
            }
            Self::Open { .. } => {
                "close all but 0, 1, 2 and one connection before, as `agentid run` of this version does"
                    .to_owned()
            }
            Self::Mapped(_) => {
                "unmap it before, or execute something anew; private mappings may stay".to_owned()
            }
            Self::Changing => "open and close nothing until the answer is there".to_owned(),
            Self::Shares(_) => {
                "unshare(2) its descriptors and folder, and execute something for memory of its own"
                    .to_owned()
            }
            Self::Unseen(_) => {
                "start it with `agentid run`; agentidd needs /proc and CAP_SYS_PTRACE, as in dist/agentid.service"
                    .to_owned()
            }
            Self::Tagged(_) => "agentid delegate starts a run below it".to_owned(),
            Self::NoDelegation { .. } => {
                "a [delegate] in the policy names what its runs may start".to_owned()
            }
            Self::NotDelegated { known, .. } => listed("it delegates to", "a [delegate] in the policy names what its runs may start", known),
            Self::FanOut { .. } => "wait until one of them has ended".to_owned(),
            Self::OwnerDenied { .. } => "an operator can undo it: agentid allow-owner".to_owned(),
            Self::OwnerAllowed(_) => "agentid status shows operators who is".to_owned(),
            Self::LastTask => "start it as a child process".to_owned(),
            Self::NoSlot(_) | Self::NoRoom(_) => {
                "wait until runs have ended, or end some: agentid ps, agentid revoke".to_owned()
            }
            Self::NotEnforcing(_) => "agentid status says what is missing".to_owned(),
            Self::Run(Ambiguous::Unknown(_)) => "agentid ps --all lists the runs".to_owned(),
            Self::Run(Ambiguous::Many { count, some, .. }) => {
                let some: Vec<String> = some.iter().map(Uuid::to_string).collect();
                let others = if *count > some.len() { ", and others; agentid ps --all lists them" } else { "" };
                format!("give more of the ID; it may be {}{others}", some.join(", "))
            }
            Self::Run(Ambiguous::Short(_)) => {
                "give more of the ID; agentid ps --all lists them".to_owned()
            }
            Self::Suspended(_) | Self::ParentSuspended(_) => {
                "agentid resume lets it go on".to_owned()
            }
            Self::NotSuspended(_) => "agentid ps shows the state of each run".to_owned(),
            Self::NoExtension => "say by how much, such as --by 30m".to_owned(),
            Self::LongExtension { left_ms: 0, .. } => {
                "it has all the time that its policy has for a run; launch another".to_owned()
            }
            Self::LongExtension { left_ms, .. } => format!("ask for at most {}", time(left_ms)),
            Self::BeyondParent { .. } => "extend the run above first".to_owned(),
            Self::NoSelection => "name a run, or give a filter; --all is for all".to_owned(),
            Self::Long { limit, .. } => format!("shorten it to {limit} characters"),
            Self::Control { .. } => "leave line breaks and the like out of it".to_owned(),
            Self::ManyLabels { limit, .. } => format!("keep {limit} of them"),
            Self::Gone => "ask from a process that waits for the answer".to_owned(),
            Self::ParentEnded(_) => "agentid ps shows runs that live".to_owned(),
            Self::Deep { .. } => "launch it below a run further up: agentid tree".to_owned(),
            Self::Levels { .. } => "`depth` in the policy's [delegate] says how many".to_owned(),
            Self::Late(_) => "launch another run".to_owned(),
            Self::NoLimits { remedy, .. } => (*remedy).to_owned(),
            Self::LimitsAtLaunch { .. } => {
                "launch it anew, or have it under a policy without memory, tasks and cpu".to_owned()
            }
            Self::Ended { id, .. } => format!("agentid show {id} says when, by whom and why"),
        }
    }
}

impl From<Refusal> for ErrorReply {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code(), message: refusal.to_string(), remedy: refusal.remedy() }
    }
}

/// As it can be asked for: without blanks, which a shell would take apart, and in whole seconds, or what there is of one.
fn time(ms: &u64) -> String {
    let whole = if *ms < 1000 { *ms } else { ms / 1000 * 1000 };
    humantime::format_duration(Duration::from_millis(whole)).to_string().replace(' ', "")
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// The names there are, or what to do where there are none.
fn listed(what: &str, none: &str, names: &[String]) -> String {
    if names.is_empty() { none.to_owned() } else { format!("{what} {}", names.join(", ")) }
}
