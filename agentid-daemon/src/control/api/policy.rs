//! Policies that are in force, as the protocol shows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One version of a policy that is offered to new runs, or that a run is still bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyInForce {
    pub name: String,
    /// Of its text; `NAME@DIGEST` is the version.
    pub digest: String,
    pub description: Option<String>,
    pub params: Vec<String>,
    /// False where new runs get another version, or none any more.
    pub offered: bool,
    /// Runs that are bound to it, of those that the caller may see.
    pub runs: u64,
}

/// A policy with its text, exactly as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicySource {
    pub policy: PolicyInForce,
    pub text: String,
}
