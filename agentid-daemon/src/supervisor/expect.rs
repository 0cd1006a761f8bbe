//! What the author of a policy expects of it, put to the decision.
//!
//! Nothing of the host is looked at: each path lies on one disk, whether it exists or not.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

use agentid_common::{
    file::Rights,
    net::{TCP, UDP, Verb},
};
use serde::Serialize;
use thiserror::Error;

use super::why::{self, Asker, Question};
use crate::{
    control::api::{Endpoint, NamedEndpoint, Protocol, WhyReply},
    event::enrich,
    image::{Assumed, BindError, CompileError},
    instance::run::RunMode,
    policy::{Case, Expectation, Policy, Side},
};

/// What came of all expectations of a policy.
#[derive(Debug, Default)]
pub struct Outcome {
    pub expectations: usize,
    /// Of all expectations together.
    pub cases: usize,
    /// How many of them are not as expected; those of one path that have one reason are told at once.
    pub wrong: usize,
    pub broken: Vec<Broken>,
}

/// A case in which the rules say something else than is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub file: String,
    /// Where the expectation stands.
    pub line: usize,
    pub column: usize,
    /// What is asked for, in words.
    pub case: String,
    /// `allow` or `deny`.
    pub expected: &'static str,
    /// Why that is expected, in the author's words.
    pub because: Option<String>,
    /// What the decision says.
    pub found: WhyReply,
}

/// Why the expectations of a policy cannot be put to it.
#[derive(Debug, Error)]
pub enum ExpectError {
    #[error("compile the policy, to try what it expects")]
    Compile(#[from] CompileError),
    #[error("bind the parameters that the expectation in line {line} gives")]
    Bind { line: usize, source: BindError },
}

impl Outcome {
    /// How many expectations hold in all their cases.
    pub fn held(&self) -> usize {
        let mut places: Vec<_> = self.broken.iter().map(|it| (it.line, it.column)).collect();
        places.dedup();
        self.expectations - places.len()
    }
}

/// Puts each case to the policy that it stands in. `file` is how the policy is named.
pub fn run(file: &str, policy: &Policy) -> Result<Outcome, ExpectError> {
    let mut outcome = Outcome::default();
    if policy.expectations().is_empty() {
        return Ok(outcome);
    }
    let mut host = Assumed::new(policy)?;
    for expectation in policy.expectations() {
        let Expectation { line, column, allowed, .. } = *expectation;
        host.bind(&folders(policy, &expectation.params))
            .map_err(|source| ExpectError::Bind { line, source })?;
        outcome.expectations += 1;
        let expected = if allowed { "allow" } else { "deny" };
        for case in &expectation.cases {
            outcome.cases += case.number();
            for (case, found) in wrong(&host, policy, case, expected) {
                outcome.wrong += case.number();
                let (file, because) = (file.to_owned(), expectation.because.clone());
                let case = words(&case);
                outcome.broken.push(Broken { file, line, column, case, expected, because, found });
            }
        }
    }
    Ok(outcome)
}

/// Those that are given; where they do not matter, folders that nothing else is said of.
pub(super) fn folders(
    policy: &Policy,
    given: &BTreeMap<String, PathBuf>,
) -> BTreeMap<String, PathBuf> {
    let each = policy.params().iter().map(|name| {
        let given = given.get(name).cloned();
        (name.clone(), given.unwrap_or_else(|| PathBuf::from(format!("/${{{name}}}"))))
    });
    each.collect()
}

/// What is not as expected. Rights of a file of which the same is said are one case.
fn wrong(host: &Assumed, policy: &Policy, case: &Case, expected: &str) -> Vec<(Case, WhyReply)> {
    let ask = |case: Case| {
        let found = ask(host, policy, &case);
        (found.verdict != expected).then_some((case, found))
    };
    let Case::File { path, rights } = case else {
        return ask(case.clone()).into_iter().collect();
    };
    let mut alike: Vec<(WhyReply, Rights)> = Vec::new();
    let each = Rights::NAMES.into_iter().filter(|(right, _)| rights.contains(*right));
    for (rights, _) in each {
        let Some((_, found)) = ask(Case::File { path: path.clone(), rights }) else { continue };
        let same = |other: &WhyReply| (&other.reason, other.rule) == (&found.reason, found.rule);
        match alike.iter_mut().find(|(other, _)| same(other)) {
            Some((_, others)) => *others = others.union(rights),
            None => alike.push((found, rights)),
        }
    }
    let file = |(_, rights)| ask(Case::File { path: path.clone(), rights });
    alike.into_iter().filter_map(file).collect()
}

/// What rules say, whether they are enforced or only recorded.
fn ask(host: &Assumed, policy: &Policy, case: &Case) -> WhyReply {
    let (facts, rules) = (host.facts(), Some(policy));
    let run = Asker { tag: host.tag(), mode: RunMode::Enforce, names: policy.grants_names() };
    match case {
        Case::File { path, rights } => {
            let object = path.display().to_string();
            let question = Question { run, texts: rules.into(), object: &object };
            question.file(&facts, &host.place(path), *rights)
        }
        Case::Peer { address, port, protocol, verb } => {
            let (address, port, protocol) = (address.to_canonical(), *port, by(*protocol));
            why::end(&facts, run, rules, *verb, &Endpoint { address, port, protocol })
        }
        Case::Name { name, port, protocol, verb } => {
            let (name, port, protocol) = (name.clone(), *port, by(*protocol));
            let class = host.class(&name);
            let end = NamedEndpoint { name, port, protocol };
            why::supposed(&facts, run, rules, *verb, &end, class)
        }
        Case::Abstract { name, right } => {
            let place = host.abstract_name(name);
            why::abstract_name(&facts, run, rules, name, place, *right)
        }
        Case::Capability(name, number) => why::numbered(&facts, run, rules, name, *number),
    }
}

fn by(protocol: u8) -> Protocol {
    match protocol {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        _ => Protocol::Icmp,
    }
}

fn words(case: &Case) -> String {
    let (what, object) = parts(case);
    format!("{what} {object}")
}

/// What is asked for, and of what.
pub(super) fn parts(case: &Case) -> (String, String) {
    let verb = |verb: &Verb| format!("{} {}", verb.name(), Side::of(*verb).key());
    match case {
        Case::File { path, rights } => {
            (enrich::rights(*rights).join(", "), path.display().to_string())
        }
        Case::Peer { address, port, protocol, verb: it } => {
            (verb(it), why::address_text(address.to_canonical(), *port, by(*protocol)))
        }
        Case::Name { name, port, protocol, verb: it } => {
            (verb(it), why::name_text(name, *port, by(*protocol)))
        }
        Case::Abstract { name, right } => {
            (enrich::abstract_rights(*right).join(", "), format!("@{name}"))
        }
        Case::Capability(name, _) => ("use capability".to_owned(), name.clone()),
    }
}

impl Display for Broken {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, case, .. } = self;
        let expected = if self.expected == "allow" { "allowed" } else { "denied" };
        write!(out, "{file}:{line}:{column}: {case} is expected to be {expected}")?;
        if let Some(because) = &self.because {
            write!(out, ", because {because}")?;
        }
        for line in self.found.grounds() {
            write!(out, "\n  {line}")?;
        }
        Ok(())
    }
}
