//! A policy as people read it: what holds for its runs, and its rules by the numbers that records have.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use agentid_common::{
    capability::{Capabilities, NAMES},
    verdict::Rule,
};
use serde::Serialize;

use super::{
    expect,
    rule_text::{self, file_rule, net_rule},
    store,
};
use crate::{
    instance::run::{OnEnd, RunMode},
    policy::{Case, Limits, Policy},
};

/// All of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub name: String,
    pub digest: String,
    pub description: Option<String>,
    pub params: Vec<String>,
    pub ttl_ms: u64,
    pub max_ttl_ms: u64,
    /// `enforce` or `audit`.
    pub mode: &'static str,
    /// `deny` or `kill`.
    pub on_end: &'static str,
    /// Beyond the usual.
    pub capabilities: Vec<&'static str>,
    /// Whether its runs ask the daemon for names of hosts.
    pub asks_for_names: bool,
    pub limits: ShownLimits,
    pub delegate: Option<ShownDelegate>,
    pub file: Vec<ShownRule>,
    pub net: Vec<ShownRule>,
    pub expect: Vec<ShownExpectation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShownLimits {
    pub denials_per_minute: Option<u32>,
    /// Bytes.
    pub memory: Option<u64>,
    pub tasks: Option<u32>,
    /// Hundredths of a processor.
    pub cpu: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownDelegate {
    pub to: Vec<String>,
    pub depth: u32,
    pub fan_out: u32,
    /// `refuse` or `end`.
    pub on_excess: &'static str,
}

/// A `[[file]]` or a `[[net]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownRule {
    pub rule: Rule,
    pub text: String,
    /// Blocks that its names may stand for beside public addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolves_to: Vec<String>,
    pub because: Option<String>,
}

/// An `[[expect]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownExpectation {
    pub line: usize,
    /// `allow` or `deny`.
    pub expected: &'static str,
    pub with: BTreeMap<String, PathBuf>,
    pub cases: Vec<ShownCases>,
    pub because: Option<String>,
}

/// Cases in which the same is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownCases {
    pub what: String,
    pub objects: Vec<String>,
}

/// A policy and the text that it came from.
pub fn shown(policy: &Policy, text: &str) -> Shown {
    let beyond = |number| policy.capabilities().holds(number) && !Capabilities::USUAL.holds(number);
    let granted = (0..).zip(NAMES).filter(|(number, _)| beyond(*number));
    let delegate = policy.delegate().map(|delegate| ShownDelegate {
        to: delegate.names().map(str::to_owned).collect(),
        depth: delegate.depth,
        fan_out: delegate.fan_out,
        on_excess: delegate.on_excess.name(),
    });
    let expectations = policy.expectations().iter().map(|it| ShownExpectation {
        line: it.line,
        expected: if it.allowed { "allow" } else { "deny" },
        with: it.params.clone(),
        cases: cases(&it.cases),
        because: it.because.clone(),
    });
    Shown {
        name: policy.name().to_owned(),
        digest: store::digest(text),
        description: Some(policy.description()).filter(|text| !text.is_empty()).map(Into::into),
        params: policy.params().to_vec(),
        ttl_ms: millis(policy.ttl()),
        max_ttl_ms: millis(policy.max_ttl()),
        mode: RunMode::of(policy.mode()).name(),
        on_end: OnEnd::of(policy.on_end()).name(),
        capabilities: granted.map(|(_, name)| name).collect(),
        asks_for_names: policy.grants_names(),
        limits: limits(policy),
        delegate,
        file: files(policy),
        net: nets(policy),
        expect: expectations.collect(),
    }
}

fn limits(policy: &Policy) -> ShownLimits {
    let Limits { denials_per_minute, memory, tasks, cpu } = policy.limits();
    ShownLimits { denials_per_minute, memory, tasks, cpu }
}

fn cases(cases: &[Case]) -> Vec<ShownCases> {
    let mut alike: Vec<ShownCases> = Vec::new();
    for (what, object) in cases.iter().map(expect::parts) {
        match alike.iter_mut().find(|it| it.what == what) {
            Some(it) => it.objects.push(object),
            None => alike.push(ShownCases { what, objects: vec![object] }),
        }
    }
    alike
}

fn files(policy: &Policy) -> Vec<ShownRule> {
    let rules = (1..).map_while(|rule| {
        let text = file_rule(policy, rule)?;
        let because = policy.because_file(rule).map(str::to_owned);
        Some(ShownRule { rule, text, resolves_to: Vec::new(), because })
    });
    rules.collect()
}

fn nets(policy: &Policy) -> Vec<ShownRule> {
    let rules = (1..).zip(policy.net_rules()).filter_map(|(rule, net)| {
        let text = net_rule(policy, rule)?;
        let resolves_to = net.resolves_to.iter().map(rule_text::block).collect();
        Some(ShownRule { rule, text, resolves_to, because: net.because.clone() })
    });
    rules.collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
