//! Owners for whom nothing is launched any more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// By the owner's name.
pub type DeniedOwners = BTreeMap<String, OwnerDenial>;

/// Who has said so, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerDenial {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub by_uid: u32,
    pub reason: Option<String>,
}
