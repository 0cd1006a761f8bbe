//! Owners for whom nothing is launched.

use serde::{Deserialize, Serialize};

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
