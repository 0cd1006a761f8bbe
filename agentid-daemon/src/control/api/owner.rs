//! Owners for whom nothing is launched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{MAX_NAME, MAX_PURPOSE, NAME, TEXT};

/// Has nothing launched for an owner any more, or has it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerRequest {
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME))]
    pub owner: String,
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerReply {
    pub owner: String,
    pub denied: bool,
    /// Runs of this owner that live; they go on.
    pub live: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerView {
    pub owner: String,
    pub at_ms: u64,
    pub by_uid: u32,
    pub reason: Option<String>,
}
