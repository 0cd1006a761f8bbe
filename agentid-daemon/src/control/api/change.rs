//! Suspending, resuming and extending runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    bounds::{MAX_PURPOSE, TEXT, selection},
    error::ErrorReply,
    select::Selector,
};

/// Suspends, resumes or extends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    #[schemars(schema_with = "selection")]
    pub select: Selector,
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub reason: Option<String>,
    /// By how much, for an extension.
    #[serde(default)]
    pub by_ms: Option<u64>,
    /// Whether the tasks stand still until the run is resumed, for a suspension; they do when it is left out.
    #[serde(default)]
    pub freeze: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeReply {
    pub runs: Vec<ChangedRun>,
}

/// A selected run as it stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedRun {
    pub id: Uuid,
    pub agent: String,
    pub owner: String,
    pub task: String,
    pub phase: String,
    pub deadline_ms: u64,
    /// Why it is as it was.
    #[schemars(with = "Option<super::error::Problem>")]
    pub error: Option<ErrorReply>,
}
