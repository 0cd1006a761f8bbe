//! What a change of a policy changes for its runs, in words and by example.

mod files;
mod peers;
mod settings;

use std::{collections::BTreeMap, path::PathBuf};

use agentid_common::verdict::{Answer, Reason, Refusal, Rule};
use serde::Serialize;
use thiserror::Error;

use crate::{
    image::{Assumed, BindError, CompileError, compare::CompareError},
    policy::Policy,
};

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    pub allowed: Vec<Row>,
    pub denied: Vec<Row>,
    pub settings: Vec<Setting>,
}

/// What becomes allowed, or denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub rights: Vec<String>,
    /// What a rule names that is behind the change: what changes lies within it, and need not be all of it.
    pub within: String,
    pub example: String,
}

/// Something else that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub name: String,
    pub before: String,
    pub after: String,
}

/// Why two policies cannot be compared.
#[derive(Debug, Error)]
pub enum DiffError {
    #[error("compile policy {name}")]
    Compile { name: String, source: CompileError },
    #[error("bind the parameters of policy {name}")]
    Bind { name: String, source: BindError },
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// Whose rule is behind a change: side 0 is the earlier policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    side: usize,
    rule: Rule,
    becomes_allowed: bool,
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.denied.is_empty() && self.settings.is_empty()
    }

    fn add(&mut self, becomes_allowed: bool, row: Row) {
        let rows = if becomes_allowed { &mut self.allowed } else { &mut self.denied };
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
}

/// Compares the rules as they hold for one run: not names and descriptions, and not reasons.
pub fn diff(before: &Policy, after: &Policy) -> Result<Diff, DiffError> {
    let (one, other) = (assumed(before)?, assumed(after)?);
    let (policies, sides) = ([before, after], [&one, &other]);
    let mut diff = Diff::default();
    files::compare(policies, sides, &mut diff)?;
    peers::compare(policies, sides, &mut diff);
    settings::compare(policies, sides, &mut diff);
    Ok(diff)
}

/// Each parameter stands for itself.
fn assumed(policy: &Policy) -> Result<Assumed, DiffError> {
    let name = || policy.name().to_owned();
    let mut host =
        Assumed::new(policy).map_err(|source| DiffError::Compile { name: name(), source })?;
    let folders =
        policy.params().iter().map(|it| (it.clone(), PathBuf::from(format!("/${{{it}}}"))));
    let folders: BTreeMap<String, PathBuf> = folders.collect();
    host.bind(&folders).map_err(|source| DiffError::Bind { name: name(), source })?;
    Ok(host)
}

/// The rule behind a change, if there is one: a denial that is new or gone, else a grant that is.
fn cause(answers: [Answer; 2]) -> Option<Cause> {
    let (side, allow, denied) = match answers {
        [Ok(allow), Err(denied)] => (0, allow, denied),
        [Err(denied), Ok(allow)] => (1, allow, denied),
        _ => return None,
    };
    let becomes_allowed = side == 1;
    Some(match denied {
        Refusal::Denied { reason: Reason::DenyRule | Reason::Tripwire, rule, .. } => {
            Cause { side: 1 - side, rule, becomes_allowed }
        }
        _ => Cause { side, rule: allow, becomes_allowed },
    })
}
