//! Files, and abstract names of unix sockets.

use std::collections::{BTreeMap, BTreeSet};

use agentid_common::file::Rights;

use super::{Cause, Diff, DiffError, Row, cause};
use crate::{
    event::enrich,
    image::{
        Assumed,
        compare::{Along, Graph, Trace, own_traces, traces},
    },
    policy::{Pattern, Policy},
};

/// Rights as numbers of [`Rights::NAMES`], by spot and the rule behind their change.
type Changes = BTreeMap<Cause, BTreeMap<usize, BTreeSet<usize>>>;

/// What a graph is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Files,
    AbstractNames,
}

pub(super) fn compare(
    policies: [&Policy; 2],
    sides: [&Assumed; 2],
    diff: &mut Diff,
) -> Result<(), DiffError> {
    let graph = Graph::of(sides)?;
    let files = changes(&graph);
    tell(policies, &graph, &files, Kind::Files, diff);
    if files.is_empty() {
        moves(&graph, diff);
    }
    let graph = Graph::of_abstract(sides)?;
    tell(policies, &graph, &changes(&graph), Kind::AbstractNames, diff);
    Ok(())
}

fn tell(policies: [&Policy; 2], graph: &Graph<'_>, changes: &Changes, kind: Kind, diff: &mut Diff) {
    for (cause, spots) in changes {
        let policy = policies[cause.side];
        let rule =
            usize::from(cause.rule).checked_sub(1).and_then(|at| policy.file_rules().get(at));
        let patterns = rule.map(|rule| rule.patterns.as_slice()).unwrap_or_default();
        let all: BTreeSet<usize> = spots.values().flatten().copied().collect();
        let asked = |spot: usize| spots.get(&spot).cloned().unwrap_or_default();
        let mut told = BTreeSet::new();
        for pattern in patterns {
            let found = traces(graph, &Along::pattern(pattern, policy), all.len(), asked);
            told.extend(found.iter().map(|(right, _)| *right));
            add(diff, cause, kind, &pattern.text, found);
        }
        // A rule that is behind the change says so at one of its patterns; this is for what that leaves.
        let left: BTreeSet<usize> = all.difference(&told).copied().collect();
        let asked = |spot: usize| asked(spot).intersection(&left).copied().collect();
        let found = traces(graph, &Along::every(), left.len(), asked);
        let texts: Vec<&str> = patterns.iter().map(|it: &Pattern| it.text.as_str()).collect();
        add(diff, cause, kind, &texts.join(", "), found);
    }
}

fn changes(graph: &Graph<'_>) -> Changes {
    let mut changes = Changes::new();
    for (number, spot) in graph.spots.iter().enumerate() {
        for (index, (right, _)) in Rights::NAMES.iter().enumerate() {
            if let Some(cause) = cause(graph.answers(spot, *right)) {
                changes.entry(cause).or_default().entry(number).or_default().insert(index);
            }
        }
    }
    changes
}

/// Rights with the same example make one row.
fn add(diff: &mut Diff, cause: &Cause, kind: Kind, within: &str, found: Vec<(usize, Trace)>) {
    let mut rows: Vec<(String, Rights)> = Vec::new();
    for (index, trace) in found {
        let example = match kind {
            Kind::Files => example(&trace),
            Kind::AbstractNames => format!("@{}", trace.first_name()),
        };
        let right = Rights(1 << index);
        match rows.iter_mut().find(|(other, _)| *other == example) {
            Some((_, rights)) => *rights = rights.union(right),
            None => rows.push((example, right)),
        }
    }
    for (example, rights) in rows {
        let rights = match kind {
            Kind::Files => enrich::rights(rights),
            Kind::AbstractNames => enrich::abstract_rights(rights),
        };
        diff.add(cause.becomes_allowed, Row { rights, within: within.to_owned(), example });
    }
}

/// A path, and where parameters lie on it if that matters.
fn example(trace: &Trace) -> String {
    let folders = trace.folders();
    let folders: Vec<String> =
        folders.iter().map(|(param, path)| format!("${{{param}}} is {path}")).collect();
    let path = trace.path();
    if folders.is_empty() { path } else { format!("{path} where {}", folders.join(" and ")) }
}

/// A folder may be moved where the rules below it stay the same: which places are alike is said by a policy's states. Where
/// some right differs that changes along; told is what differs beyond that, in policies that say the same in other words.
fn moves(graph: &Graph<'_>, diff: &mut Diff) {
    for (side, becomes_allowed) in [(0, false), (1, true)] {
        let moved = Rights::CREATE.union(Rights::DELETE);
        let mut alike: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        for (number, spot) in graph.spots.iter().enumerate() {
            if graph.answers(spot, moved)[side].is_ok() {
                alike.entry(spot.states[side]).or_default().insert(number);
            }
        }
        let states = |number: &usize| graph.spots[*number].states[1 - side];
        let parted =
            |spots: &&BTreeSet<usize>| spots.iter().map(states).collect::<BTreeSet<_>>().len() > 1;
        if let Some(spots) = alike.values().find(parted) {
            let asked = |spot| spots.get(&spot).copied().into_iter().collect();
            let found = own_traces(graph, &Along::every(), spots.len(), asked);
            let pairs = found.iter().flat_map(|one| found.iter().map(move |other| (one, other)));
            let apart = |((one, from), (other, to)): &(&(usize, Trace), &(usize, Trace))| {
                states(one) != states(other) && !from.is_within(to) && !to.is_within(from)
            };
            let example = match pairs.into_iter().find(apart) {
                Some(((_, from), (_, to))) => format!("{} to {}", example(from), example(to)),
                None => "where folders of parameters lie within each other".to_owned(),
            };
            let rights = vec!["move a folder".to_owned()];
            let within = "places with the same rights".to_owned();
            diff.add(becomes_allowed, Row { rights, within, example });
        }
    }
}
