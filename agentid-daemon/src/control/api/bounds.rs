//! What texts of a request may be, as the daemon checks it and as its document says it.

use agentid_common::{capability, file::Rights};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::select::Selector;

/// Longest name of an agent, owner, task, label or label value, in characters, as JSON Schema counts.
pub const MAX_NAME: usize = 256;
/// Longest purpose or reason, likewise.
pub const MAX_PURPOSE: usize = 1024;
/// Most labels of one run.
pub const MAX_LABELS: usize = 32;
/// Most bytes of all that is said of one run together, names and values: the daemon keeps it for as long as it knows the run, and
/// each list has it. A command is cut off instead.
pub const MAX_SAID: usize = 8 * 1024;

/// No control character.
pub(super) const TEXT: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// The same, and not only white space.
pub(super) const NAME: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";

/// Labels of a run to be.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    let text = json_schema!({ "type": "string", "maxLength": MAX_NAME, "pattern": TEXT });
    json_schema!({
        "type": "object",
        "maxProperties": MAX_LABELS,
        "propertyNames": text,
        "additionalProperties": text,
    })
}

/// Rights, as policies name them.
pub(super) fn rights(_: &mut SchemaGenerator) -> Schema {
    let names = Rights::NAMES.map(|(_, name)| name);
    json_schema!({ "type": "array", "minItems": 1, "items": { "type": "string", "enum": names } })
}

/// A capability, as policies name it.
pub(super) fn capability(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": capability::NAMES.to_vec() })
}

/// An address of IP.
pub(super) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
}

/// A selector that says something: what selects nothing is not acted upon.
pub(super) fn selection(generator: &mut SchemaGenerator) -> Schema {
    let selector = generator.subschema_for::<Selector>();
    let fields = generator.definitions().get("Selector").and_then(|known| known.get("properties"));
    let said =
        fields.and_then(Value::as_object).into_iter().flat_map(Map::iter).map(|(name, field)| {
            let something = match field.get("type").and_then(Value::as_str) {
                Some("boolean") => json!({ "const": true }),
                Some("object") => json!({ "minProperties": 1 }),
                _ => json!({ "not": { "type": "null" } }),
            };
            json!({ "required": [name], "properties": { name: something } })
        });
    json_schema!({ "allOf": [selector], "anyOf": said.collect::<Vec<_>>() })
}
