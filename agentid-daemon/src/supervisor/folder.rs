//! The folder of policies: every `*.toml` in it is one.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::expect::{self, Broken, ExpectError, Outcome};
use crate::policy::{self, Policy, PolicyError};

/// One thing that is wrong in the folder.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Says its place itself.
    #[error("{0}")]
    Policy(PolicyError),
    /// Says its place itself.
    #[error("{0}")]
    Broken(Box<Broken>),
    #[error("{}", path.display())]
    Expect { path: PathBuf, source: ExpectError },
    #[error("{}: policy {name:?} is in {} already", path.display(), first.display())]
    Twice { name: String, path: PathBuf, first: PathBuf },
}

/// A policy and the text it came from.
pub type Text = (Policy, String);

/// Reads all policies, or says everything that is wrong with any of them.
pub fn load(folder: &Path) -> Result<Vec<Text>, Vec<FolderError>> {
    let mut errors = Vec::new();
    let mut policies = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files(folder).map_err(|error| vec![error])? {
        match read(&path) {
            Ok((policy, text)) => {
                let name = policy.name().to_owned();
                match names.get(&name).cloned() {
                    Some(first) => errors.push(FolderError::Twice { name, path, first }),
                    None => {
                        names.insert(name, path);
                        policies.push((policy, text));
                    }
                }
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        errors = unknown(&policies, &names);
    }
    if errors.is_empty() { Ok(policies) } else { Err(errors) }
}

/// Every policy that another one delegates to, and that is not there.
fn unknown(policies: &[Text], names: &BTreeMap<String, PathBuf>) -> Vec<FolderError> {
    let mut errors = Vec::new();
    for (policy, _) in policies {
        let file = names.get(policy.name()).map(|path| path.display().to_string());
        for delegated in policy.delegate().iter().flat_map(|delegate| &delegate.to) {
            if names.contains_key(&delegated.policy) {
                continue;
            }
            let near = policy::nearest(&delegated.policy, names.keys().map(String::as_str));
            errors.push(FolderError::Policy(PolicyError {
                file: file.clone().unwrap_or_default(),
                line: delegated.line,
                column: delegated.column,
                message: format!("no policy is called `{}`", delegated.policy),
                help: near.map(|near| format!("did you mean `{near}`?")),
            }));
        }
    }
    errors
}

/// Reads one policy, which does what it expects of itself.
pub fn read(path: &Path) -> Result<Text, Vec<FolderError>> {
    let (policy, text) = parse(path)?;
    let outcome = try_expectations(path, &policy).map_err(|error| vec![error])?;
    if outcome.broken.is_empty() {
        return Ok((policy, text));
    }
    let broken = outcome.broken.into_iter();
    Err(broken.map(|broken| FolderError::Broken(Box::new(broken))).collect())
}

/// What comes of the expectations of a policy.
pub fn try_expectations(path: &Path, policy: &Policy) -> Result<Outcome, FolderError> {
    let outcome = expect::run(&path.display().to_string(), policy);
    outcome.map_err(|source| FolderError::Expect { path: path.to_owned(), source })
}

/// Reads one policy, and does not look at what it expects.
pub fn parse(path: &Path) -> Result<Text, Vec<FolderError>> {
    let text = fs::read_to_string(path).map_err(|source| vec![failed(path, source)])?;
    match policy::parse(&path.display().to_string(), &text) {
        Ok(policy) => Ok((policy, text)),
        Err(errors) => Err(errors.into_iter().map(FolderError::Policy).collect()),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn failed(path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { path: path.to_owned(), source }
}
