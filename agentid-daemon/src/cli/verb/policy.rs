//! `agentid policy`: the pure part of the pipeline, without the daemon.

use std::path::Path;

use crate::{
    cli::{exit, failure::Failure, render},
    supervisor::folder::{self, FolderError},
};

pub fn check(file: &Path) -> Result<u8, Failure> {
    match folder::read(file) {
        Ok((policy, _)) => {
            let rules = policy.file_rules().len() + policy.net_rules().len();
            render::print(&format!(
                "{}: policy {}, {rules} rules\n",
                file.display(),
                policy.name()
            ))?;
            Ok(exit::SUCCESS)
        }
        Err(errors) => Err(mistakes(errors)),
    }
}

/// All mistakes are printed, each with its place; the last line says how many there are.
fn mistakes(errors: Vec<FolderError>) -> Failure {
    let count = errors.len();
    let mut last = None;
    for error in errors {
        if matches!(error, FolderError::Policy(_)) {
            eprintln!("{error}");
        } else {
            last = Some(Failure::new(error, exit::FAILURE));
        }
    }
    let plural = if count == 1 { "mistake" } else { "mistakes" };
    last.unwrap_or_else(|| Failure::new(format!("the policy has {count} {plural}"), exit::INVALID))
}
