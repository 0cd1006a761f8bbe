//! From the text of a policy to rules that make sense.
//!
//! `text ──toml──▶ Document ──validate──▶ Policy`: a [`Policy`] exists only when nothing in its document is unknown,
//! unsupported or contradictory, and all mistakes of a document are found in one pass.

mod amount;
mod capability;
mod document;
mod duration;
mod error;
mod expect;
mod expectation;
mod host;
mod nearest;
mod net;
mod pattern;
#[allow(clippy::module_inception, reason = "the module is about its main type")]
mod policy;
mod reader;
mod rights;
mod servant;
mod target;
mod validate;
mod verbs;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

pub use error::PolicyError;
pub use expectation::{Case, Expectation};
pub use host::Host;
pub use nearest::nearest;
pub use pattern::{Component, MAX_ABSTRACT, Pattern, Root};
pub use policy::{
    Delegate, Effect, Excess, FileRule, Limits, Named, NetRule, Policy, Prefix, Target,
};
use toml::de::DeTable;
pub use verbs::{PROTOCOLS, Side, Verbs, meaning};

/// Reads a policy. `file` is how errors name it.
pub fn parse(file: &str, text: &str) -> Result<Policy, Vec<PolicyError>> {
    let mut reader = reader::Reader::new(file, text);
    let (table, faults) = DeTable::parse_recoverable(text);
    for fault in &faults {
        reader.syntax(fault);
    }
    if !faults.is_empty() {
        // What the parser guesses after a fault in the syntax is not worth judging.
        return Err(reader.into_errors());
    }
    let document = document::read(table.get_ref(), &mut reader);
    let policy = validate::validate(&document, &mut reader);
    match (policy, reader.into_errors()) {
        (Some(policy), errors) if errors.is_empty() => Ok(policy),
        (_, errors) => Err(errors),
    }
}
