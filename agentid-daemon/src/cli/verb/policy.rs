//! `agentid policy`: the pure part of the pipeline, without the daemon.

use std::path::Path;

use serde::Serialize;

use crate::{
    cli::{args::Output, exit, failure::Failure, render},
    policy::{Policy, PolicyError},
    supervisor::{
        expect::{Broken, Outcome},
        folder::{self, FolderError},
    },
};

/// Reads a policy, and tries what it expects of itself. For programs that is the same as a test.
pub fn check(file: &Path, output: Output) -> Result<u8, Failure> {
    if output.json {
        return test(file, output);
    }
    let (policy, _) = folder::read(file).map_err(mistakes)?;
    if !output.quiet {
        render::print(&checked(file, &policy))?;
    }
    Ok(exit::SUCCESS)
}

/// What there is in a policy without mistakes.
pub fn checked(file: &Path, policy: &Policy) -> String {
    let rules = policy.file_rules().len() + policy.net_rules().len();
    let held = match policy.expectations().len() {
        0 => String::new(),
        1 => ", 1 expectation that holds".to_owned(),
        number => format!(", {number} expectations that hold"),
    };
    format!("{}: policy {}, {rules} rules{held}\n", file.display(), policy.name())
}

pub fn test(file: &Path, output: Output) -> Result<u8, Failure> {
    let read = folder::parse(file).and_then(|(policy, _)| {
        let outcome = folder::try_expectations(file, &policy).map_err(|error| vec![error])?;
        Ok((policy, outcome))
    });
    let (policy, outcome) = match read {
        Ok(read) => read,
        Err(errors) if output.json => return in_json(file, errors),
        Err(errors) => return Err(mistakes(errors)),
    };
    let report = Report::of(file, &policy, &outcome);
    let holds = outcome.broken.is_empty();
    if output.quiet && !holds {
        eprint!("{}", tested(file, &policy, &outcome));
    }
    render::answer(output, &report, || tested(file, &policy, &outcome))?;
    Ok(if holds { exit::SUCCESS } else { exit::INVALID })
}

/// Each case that is not as expected, and how many expectations hold.
pub fn tested(file: &Path, policy: &Policy, outcome: &Outcome) -> String {
    let Outcome { expectations, cases, wrong, broken } = outcome;
    let lines =
        broken.iter().flat_map(|it| it.to_string().lines().map(str::to_owned).collect::<Vec<_>>());
    let mut text: String = lines.map(|line| render::clean(&line) + "\n").collect();
    let (file, name, held) = (file.display(), policy.name(), outcome.held());
    text += &match (expectations, wrong) {
        (0, _) => format!("{file}: policy {name} expects nothing: it has no [[expect]]\n"),
        (_, 0) => format!(
            "{file}: policy {name}, {held} of {expectations} expectations hold, in {cases} cases\n"
        ),
        _ => format!(
            "{file}: policy {name}, {held} of {expectations} expectations hold, {wrong} of {cases} cases are not as expected\n"
        ),
    };
    text
}

/// `policy test --json`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    file: String,
    policy: Option<&'a str>,
    /// The text's mistakes; with one, nothing was tried.
    mistakes: Vec<PolicyError>,
    expectations: usize,
    held: usize,
    cases: usize,
    /// The cases that are not as expected.
    broken: &'a [Broken],
}

impl<'a> Report<'a> {
    pub fn of(file: &Path, policy: &'a Policy, outcome: &'a Outcome) -> Self {
        Self {
            file: file.display().to_string(),
            policy: Some(policy.name()),
            mistakes: Vec::new(),
            expectations: outcome.expectations,
            held: outcome.held(),
            cases: outcome.cases,
            broken: &outcome.broken,
        }
    }
}

fn in_json(file: &Path, errors: Vec<FolderError>) -> Result<u8, Failure> {
    let mut mistakes = Vec::new();
    for error in errors {
        match error {
            FolderError::Policy(mistake) => mistakes.push(mistake),
            other => return Err(self::mistakes(vec![other])),
        }
    }
    let file = file.display().to_string();
    render::json(&Report {
        file,
        policy: None,
        mistakes,
        expectations: 0,
        held: 0,
        cases: 0,
        broken: &[],
    })?;
    Ok(exit::INVALID)
}

/// All mistakes are printed, each with its place; the last line says how many there are.
pub fn mistakes(errors: Vec<FolderError>) -> Failure {
    let (mut mistakes, mut broken) = (0, 0);
    let mut last = None;
    for error in errors {
        match error {
            FolderError::Policy(_) => mistakes += 1,
            FolderError::Broken(_) => broken += 1,
            FolderError::Expect { .. } => {
                let remedy = "agentid policy test FILE shows each case";
                last = Some(Failure::new(error, exit::INVALID, remedy));
                continue;
            }
            FolderError::Io { .. } => {
                let remedy = "name the file of a policy; agentid policy list has those in force";
                last = Some(Failure::new(error, exit::FAILURE, remedy));
                continue;
            }
            FolderError::Twice { .. } => {
                let remedy = "give one of them another name, or take it out of the folder";
                last = Some(Failure::new(error, exit::FAILURE, remedy));
                continue;
            }
        }
        for line in error.to_string().lines() {
            eprintln!("{}", render::clean(line));
        }
    }
    last.unwrap_or_else(|| {
        let text = match (mistakes, broken) {
            (0, 1) => "1 case is not as the policy expects".to_owned(),
            (0, broken) => format!("{broken} cases are not as the policy expects"),
            (1, _) => "the policy has 1 mistake".to_owned(),
            (mistakes, _) => format!("the policy has {mistakes} mistakes"),
        };
        Failure::new(
            text,
            exit::INVALID,
            "correct the file where that is said; POLICY.md has the language",
        )
    })
}
