//! Launching, from outside of a run and from within one.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::bounds::{MAX_NAME, MAX_PURPOSE, NAME, TEXT, labels};

/// Asks that the peer of this connection becomes the first process of a run.
///
/// It must have one thread and no tracer, share neither memory nor descriptors, and have nothing open but the standard streams
/// and this connection; none of these may be a folder, a socket that takes connections or a ring of io_uring. It may have no such ring
/// mapped, and no memory that it may write and others see. Unless it is root's, it must have set `PR_SET_NO_NEW_PRIVS`. It opens, closes
/// and maps nothing until the answer is there. From then on, everything that its policy does not grant is denied to it and to all that it
/// starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchRequest {
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
    /// What will be executed; for people only.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Asks, from within a run, that the peer of this connection becomes the first process of a run below it.
///
/// Its policy must be among those that the run's own policy delegates to. The owner is the run's, and so is whom it works for. It is held to the rules
/// and the life of the run above, and of all above that, as well as to its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegateRequest {
    pub policy: String,
    /// The asking run's when left out, as are the task and the purpose.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub agent: Option<String>,
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub task: Option<String>,
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub purpose: Option<String>,
    #[serde(default)]
    pub params: BTreeMap<String, PathBuf>,
    /// The policy's own when left out; never beyond the deadline of the run above.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub ttl_ms: Option<u64>,
    #[serde(default)]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// What will be executed; for people only.
    #[serde(default)]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchReply {
    pub id: Uuid,
    /// `NAME@DIGEST`.
    pub policy: String,
    pub deadline_ms: u64,
}
