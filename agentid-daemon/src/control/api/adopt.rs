//! Making a run of what runs already.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    bounds::{MAX_NAME, MAX_PURPOSE, NAME, TEXT, labels},
    launch::LaunchReply,
};

/// Asks that processes which run already become a run, with all that they will start.
///
/// All of them stand still while they are tagged, or nothing changes. Of a cgroup none is missed; of a process those that are its
/// descendants by then: who has lost his parent before is nobody's. What they have open stays open; what they open from then on is
/// judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    pub from: AdoptFrom,
    pub policy: String,
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub agent: String,
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub owner: String,
    /// Whom the work is done for, where that is not the owner.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub on_behalf_of: Option<String>,
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub task: String,
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub purpose: Option<String>,
    #[serde(default)]
    pub params: BTreeMap<String, PathBuf>,
    /// The policy's own when left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub ttl_ms: Option<u64>,
    /// ID of the run above this one.
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// Where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdoptFrom {
    /// A process, by its number in the host's namespace, and its descendants.
    Process(u32),
    /// All processes of a cgroup of the v2 hierarchy and of those below it.
    Cgroup(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdoptReply {
    pub run: LaunchReply,
    /// What has become the run.
    pub processes: Vec<u32>,
}
