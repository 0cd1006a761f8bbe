//! Ending runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    bounds::{MAX_PURPOSE, TEXT, selection},
    select::Selector,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub reason: Option<String>,
    /// Kills the tasks whatever the policy says, also those that a run which is over has left.
    #[serde(default)]
    pub kill: bool,
}

/// A run ends itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub reason: Option<String>,
}

/// What a revocation did. Times count from the arrival of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevokeReply {
    pub id: Uuid,
    /// Runs below this one that ended with it.
    pub also: Vec<Uuid>,
    /// Tasks that were alive when the kernel's table said "revoked".
    pub tasks: u64,
    /// Of those, the ones that were still there when this answer was given: the policy may let them go on, denied.
    pub remaining: u64,
    /// Until the kernel denied everything.
    pub denied_after_ms: f64,
    /// Sockets of TCP and unix that the runs have made and that were ended, their other ends told; listeners among them.
    #[serde(default)]
    pub connections: u64,
    /// Until the last of those was told; `null` without any, and where that takes longer than is waited for.
    #[serde(default)]
    pub hung_up_after_ms: Option<f64>,
    /// Until the tasks stood still that the policies have stand still rather than killed; `null` without any, and where some did not.
    #[serde(default)]
    pub frozen_after_ms: Option<f64>,
    /// Until the last task was gone.
    pub stopped_after_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllRequest {
    #[schemars(schema_with = "selection")]
    pub select: Selector,
    #[serde(default)]
    #[schemars(length(max = MAX_PURPOSE), regex(pattern = TEXT))]
    pub reason: Option<String>,
    /// As for one run.
    #[serde(default)]
    pub kill: bool,
}

/// What a revocation of several runs did: all of them are denied everything before any task is stopped. Times count from
/// the arrival of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevokeAllReply {
    pub runs: Vec<RevokeReply>,
    /// Until the kernel denied all of them everything.
    pub denied_after_ms: f64,
    /// Until the last task of all was gone.
    pub stopped_after_ms: Option<f64>,
}
