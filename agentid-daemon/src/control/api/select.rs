//! Saying which runs are meant.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::reading::parse;

/// Runs by what they are. All that is given must hold; nothing given selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Name of the policy, whatever its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Launched at least this long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<u64>,
    /// ID of the run right above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children_of: Option<String>,
    /// Every run that the caller may see.
    #[serde(skip_serializing_if = "is_no")]
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
    /// With their sockets and what they use, as where one run is shown.
    #[serde(default, skip_serializing_if = "is_no")]
    pub whole: bool,
}

fn is_no(it: &bool) -> bool {
    !it
}

/// Which live runs are shown with their processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TreeQuery {
    /// Only these runs, with all below them.
    #[serde(default, deserialize_with = "in_a_query")]
    #[schemars(with = "Selector")]
    pub select: Option<Selector>,
}

/// A selector as JSON within a query, where there is no place for a list of labels.
pub fn in_a_query<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Selector>, D::Error> {
    let text = String::deserialize(text)?;
    parse(text.as_bytes()).map(Some).map_err(D::Error::custom)
}
