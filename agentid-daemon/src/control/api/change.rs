//! Suspending, resuming and extending runs.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{error::ErrorReply, select::Selector};

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
