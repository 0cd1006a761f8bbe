//! Saying which runs are meant.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs by what they are. All that is given must hold; nothing given selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectRequest {
    #[serde(default)]
    pub select: Selector,
    /// Also those that have ended.
    #[serde(default)]
    pub ended: bool,
}
