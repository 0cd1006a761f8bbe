//! The host, as far as it is about enforcement.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::owner::OwnerView;

/// What was wanted of this host beside what it gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Runs whose files are behind, because the disk did not take them; told to operators.
    #[serde(default)]
    pub unsaved: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookView {
    pub name: String,
    /// False while no run needs it: what every process of the host pays for is attached only on demand.
    pub needed: bool,
    pub attached: bool,
    pub why_not: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapView {
    pub name: String,
    pub entries: u64,
    pub capacity: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyView {
    pub name: String,
    pub digest: String,
    pub description: Option<String>,
    pub params: Vec<String>,
}
