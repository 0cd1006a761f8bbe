//! One run: everything that is known of it, and all that is kept on disk for the next daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use agentid_common::{file::AnchorKey, instance::Ladder, verdict::Mode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    bounds::Enclosure,
    state::{Ending, Phase},
};

/// A run and what was promised for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub id: Uuid,
    pub agent: String,
    pub owner: String,
    /// Whom the work is done for, where that is not the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    pub task: String,
    pub purpose: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub policy: PolicyVersion,
    pub params: BTreeMap<String, PathBuf>,
    /// The folders that these were when they were given; without one in records of earlier versions.
    #[serde(default)]
    pub given: BTreeMap<String, FolderId>,
    pub mode: RunMode,
    pub on_end: OnEnd,
    /// Whether the policy grants host names.
    #[serde(default)]
    pub names: bool,
    pub parent: Option<Uuid>,
    /// All runs above it, the one right above first.
    #[serde(default)]
    pub above: Vec<Uuid>,
    /// What was asked to be executed; for people only, the kernel never compares it.
    pub command: Vec<String>,
    /// User that launched it, who may see and end it.
    pub uid: u32,
    /// Process that the tree grew from.
    pub tgid: u32,
    /// Who has asked for it; `None` in records of earlier versions.
    #[serde(default)]
    pub issued_by: Option<Issuer>,
    pub place: Place,
    /// Milliseconds since 1970, by the wall clock of the launch.
    pub launched_ms: u64,
    /// The same moment in nanoseconds of `CLOCK_BOOTTIME`, which bounds of the deadline count from.
    #[serde(default)]
    pub launched_ns: u64,
    pub phase: Phase,
    /// To whose account its slot and its record go, where that is not its user's own.
    #[serde(default)]
    pub account: Option<u32>,
    /// Whether its tasks are to stand still.
    #[serde(default)]
    pub frozen: bool,
    /// Who has suspended it, while it is. What was done last may be forgotten before.
    #[serde(default)]
    pub held_by: Option<u32>,
    /// Whether some of its tasks were still there a while after they were to be killed. A daemon that comes later sees for
    /// itself.
    #[serde(skip)]
    pub outlasts: bool,
    /// The cgroups that were made for it, below the root of the hierarchy.
    #[serde(default, with = "super::paths")]
    pub groups: BTreeSet<PathBuf>,
    /// The one of them that limits what it uses of the host.
    #[serde(default)]
    pub enclosure: Option<Enclosure>,
    /// What was done to it since, the last [`MAX_CHANGES`] of it.
    #[serde(default)]
    pub changes: Vec<Change>,
    pub end: Option<End>,
}

/// What identifies a folder for as long as the host is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderId {
    filesystem: u64,
    inode: u64,
    generation: u32,
    kind: u32,
}

impl From<AnchorKey> for FolderId {
    fn from(key: AnchorKey) -> Self {
        let AnchorKey { filesystem, inode, generation, kind } = key;
        Self { filesystem, inode, generation, kind }
    }
}

impl From<FolderId> for AnchorKey {
    fn from(id: FolderId) -> Self {
        let FolderId { filesystem, inode, generation, kind } = id;
        Self { filesystem, inode, generation, kind }
    }
}

/// A process that has asked for a run, at the moment of the asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    pub uid: u32,
    pub tgid: u32,
    /// `None` where the kernel did not tell.
    pub executable: Option<PathBuf>,
}

/// Exactly one version of one policy: the name and the digest of its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyVersion {
    pub name: String,
    pub digest: String,
}

impl std::fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.digest)
    }
}

/// What a denial by rule does; the policy's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunMode {
    Enforce,
    /// Decide and record, and let pass.
    Audit,
}

impl RunMode {
    pub fn of(mode: Mode) -> Self {
        if mode == Mode::AUDIT { Self::Audit } else { Self::Enforce }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }

    /// As the kernel's table has it.
    pub const fn in_slot(self) -> Mode {
        match self {
            Self::Enforce => Mode::ENFORCE,
            Self::Audit => Mode::AUDIT,
        }
    }
}

/// What happens to the tasks of a run that is over; the policy's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEnd {
    /// They are denied everything and go on.
    Deny,
    /// They are denied everything and stand still.
    Freeze,
    Kill,
}

impl Run {
    /// Has its tasks be killed, whatever its policy says. Where their descriptors are held by then, they stay so.
    pub fn kill(&mut self) {
        self.outlasts |= self.on_end != OnEnd::Kill;
        self.on_end = OnEnd::Kill;
    }

    /// The folders of its parameters, as rules name them.
    pub fn folders(&self) -> BTreeMap<String, AnchorKey> {
        self.given.iter().map(|(param, id)| (param.clone(), (*id).into())).collect()
    }

    /// To whose account it goes that it is there.
    pub fn account(&self) -> u32 {
        self.account.unwrap_or(self.uid)
    }

    /// Who has suspended it. What was written before that had a place of its own tells by what was done last.
    pub fn suspended_by(&self) -> Option<u32> {
        let mut last = self.changes.iter().rev();
        let change = last.find(|change| change.what == Changed::Suspended);
        self.held_by.or_else(|| change.map(|change| change.by_uid))
    }
}

impl OnEnd {
    pub fn of(ladder: Ladder) -> Self {
        match ladder {
            Ladder::DENY => Self::Deny,
            Ladder::FREEZE => Self::Freeze,
            _ => Self::Kill,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Freeze => "freeze",
            Self::Kill => "kill",
        }
    }

    /// As the kernel's table has it.
    pub const fn in_slot(self) -> Ladder {
        match self {
            Self::Deny => Ladder::DENY,
            Self::Freeze => Ladder::FREEZE,
            Self::Kill => Ladder::KILL,
        }
    }
}

/// The run's slot in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub slot: u32,
    pub generation: u64,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline: u64,
}

/// Most changes of one run that are kept; the earliest go.
pub const MAX_CHANGES: usize = 32;

/// Something that was done to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub by_uid: u32,
    pub reason: Option<String>,
    pub what: Changed,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    Suspended,
    Resumed,
    /// The deadline is this much later.
    Extended {
        by_ms: u64,
    },
}

impl Changed {
    /// The name in output and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Extended { .. } => "extended",
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub ending: Ending,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub reason: Option<String>,
    /// User that ended it; `None` when nobody did.
    pub by_uid: Option<u32>,
    pub totals: Option<Totals>,
}

impl End {
    /// An ending that nobody asked for.
    pub const fn of(ending: Ending, at_ms: u64) -> Self {
        Self { ending, at_ms, reason: None, by_uid: None, totals: None }
    }
}

/// What the kernel had counted of the run when its last task was gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    pub started: u64,
    pub allowed: u64,
    pub denied: u64,
    pub faults: u64,
    pub records: u64,
    pub lost: u64,
}

/// How cgroups that are made for runs are called.
const GROUP: &str = "agentid-";

/// Name of the cgroups that are made for a run.
pub fn group_name(id: Uuid) -> String {
    format!("{GROUP}{id}")
}

/// The run that a cgroup of this name is made for.
pub fn of_group(name: &str) -> Option<Uuid> {
    name.strip_prefix(GROUP).and_then(|id| Uuid::try_parse(id).ok())
}

impl Run {
    /// Name of the cgroups that are made for it.
    pub fn group(&self) -> String {
        group_name(self.id)
    }

    /// Notes what was done to the run.
    pub fn changed(&mut self, change: Change) {
        let excess = (self.changes.len() + 1).saturating_sub(MAX_CHANGES);
        self.changes.drain(..excess);
        self.changes.push(change);
    }
}
