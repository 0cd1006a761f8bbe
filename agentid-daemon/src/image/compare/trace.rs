//! Paths to spots: examples.

use std::collections::{BTreeSet, VecDeque};

use super::{
    super::{
        file::after,
        tail::{Step, steps},
    },
    graph::{Graph, Way, placeholder},
};
use crate::policy::{Pattern, Policy, Root};

/// A path to a spot, and where parameters begin on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub spot: usize,
    names: Vec<Vec<u8>>,
    /// Each parameter with the number of names before it.
    begun: Vec<(String, usize)>,
}

impl Trace {
    /// The path in words: from the last parameter on whose folder lies anywhere, or from the root.
    pub fn path(&self) -> String {
        let own = |(param, at): &&(String, usize)| {
            *at == 1 && self.names.first() == Some(&placeholder(param))
        };
        match self.begun.iter().rev().find(own) {
            Some(_) => self.below(0).trim_start_matches('/').to_owned(),
            None => self.below(0),
        }
    }

    /// The first name on the path.
    pub fn first_name(&self) -> String {
        String::from_utf8_lossy(self.names.first().map(Vec::as_slice).unwrap_or_default())
            .into_owned()
    }

    /// Where each parameter lies for which it matters.
    pub fn folders(&self) -> Vec<(String, String)> {
        let elsewhere = self
            .begun
            .iter()
            .filter(|(param, at)| *at != 1 || self.names.first() != Some(&placeholder(param)));
        elsewhere.map(|(param, at)| (param.clone(), self.folder(*at))).collect()
    }

    /// The folder after so many names; from the folder of a parameter on that lies anywhere.
    fn folder(&self, at: usize) -> String {
        let path = joined(&self.names[..at]);
        let own =
            self.begun.iter().any(|(param, _)| self.names.first() == Some(&placeholder(param)));
        if own { path.trim_start_matches('/').to_owned() } else { path }
    }

    /// Whether it is the other path, or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.names.starts_with(&other.names)
    }

    fn below(&self, from: usize) -> String {
        joined(&self.names[from..])
    }

    fn with(&self, way: &Way, spot: usize, params: &[String]) -> Self {
        let mut next = Self { spot, ..self.clone() };
        match way {
            Way::Name(name) => next.names.push(name.clone()),
            Way::Begin(index) => next.begun.push((params[*index].clone(), next.names.len())),
        }
        next
    }
}

fn joined(names: &[Vec<u8>]) -> String {
    let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    format!("/{}", names.join("/"))
}

/// A pattern of one of the policies, or every path.
pub struct Along<'p> {
    steps: Vec<Step>,
    /// The parameter by which it begins.
    param: Option<&'p str>,
}

impl<'p> Along<'p> {
    pub fn every() -> Self {
        Self { steps: vec![Step::Any], param: None }
    }

    pub fn pattern(pattern: &Pattern, policy: &'p Policy) -> Self {
        let param = match pattern.root {
            Root::Filesystem | Root::Abstract => None,
            Root::Parameter(index) => policy.params().get(index).map(String::as_str),
        };
        Self { steps: steps(&pattern.components), param }
    }

    /// What is left of the pattern, as lengths of its rests; nothing while its parameter has not begun.
    fn follow(
        &self,
        left: Option<&Vec<usize>>,
        way: &Way,
        params: &[String],
    ) -> Option<Vec<usize>> {
        match way {
            Way::Begin(index) if Some(params[*index].as_str()) == self.param => {
                Some(vec![self.steps.len()])
            }
            Way::Begin(_) => left.cloned(),
            Way::Name(name) => {
                let rests = left?.iter().map(|left| &self.steps[self.steps.len() - left..]);
                Some(after(rests.collect(), name).into_iter().map(<[Step]>::len).collect())
            }
        }
    }

    /// Whether the path is one of the pattern's.
    fn ends(&self, left: Option<&Vec<usize>>) -> bool {
        left.is_some_and(|left| left.contains(&0)) || self.is_open(left)
    }

    /// Whether all paths below are the pattern's as well, by a `**` at its end.
    fn is_open(&self, left: Option<&Vec<usize>>) -> bool {
        self.steps.last() == Some(&Step::Any) && left.is_some_and(|left| left.contains(&1))
    }
}

/// Shortest paths along a pattern to spots where something is asked for, `wanted` things at most. A path within a folder is
/// preferred to the folder itself, and a parameter's folder that lies anywhere to one that has to lie somewhere.
pub fn traces(
    graph: &Graph<'_>,
    along: &Along<'_>,
    wanted: usize,
    asked: impl Fn(usize) -> BTreeSet<usize>,
) -> Vec<(usize, Trace)> {
    let mut found = own_traces(graph, along, wanted, &asked);
    let told: BTreeSet<usize> = found.iter().map(|(what, _)| *what).collect();
    let left = |spot: usize| asked(spot).difference(&told).copied().collect();
    if told.len() < wanted {
        found.extend(search(graph, along, wanted - told.len(), left, true));
    }
    found
}

/// Those on which each parameter's folder lies anywhere: what they say can all be so at once.
pub fn own_traces(
    graph: &Graph<'_>,
    along: &Along<'_>,
    wanted: usize,
    asked: impl Fn(usize) -> BTreeSet<usize>,
) -> Vec<(usize, Trace)> {
    search(graph, along, wanted, asked, false)
}

fn search(
    graph: &Graph<'_>,
    along: &Along<'_>,
    wanted: usize,
    asked: impl Fn(usize) -> BTreeSet<usize>,
    elsewhere: bool,
) -> Vec<(usize, Trace)> {
    let mut found: Vec<(usize, Trace)> = Vec::new();
    let mut folders: Vec<(usize, Trace)> = Vec::new();
    let start = along.param.is_none().then(|| vec![along.steps.len()]);
    let mut seen = BTreeSet::from([(0, start.clone(), false, None)]);
    let mut waiting = VecDeque::from([(Trace::default(), start, false, None)]);
    while let Some((trace, left, was_open, own)) = waiting.pop_front() {
        let open = along.is_open(left.as_ref());
        // A folder that lies anywhere has no path but as the parameter's.
        if own.is_none() && along.ends(left.as_ref()) {
            let list = if open && !was_open { &mut folders } else { &mut found };
            for what in asked(trace.spot) {
                if list.iter().all(|(other, _)| *other != what) {
                    list.push((what, trace.clone()));
                }
            }
            if found.len() == wanted {
                break;
            }
        }
        let begins = |way: &Way| match (way, own) {
            (Way::Begin(index), Some(own)) => *index == own,
            (Way::Name(_), Some(_)) => false,
            (Way::Begin(_), None) => elsewhere,
            (Way::Name(_), None) => true,
        };
        for (way, target) in graph.spots[trace.spot].ways.iter().filter(|(way, _)| begins(way)) {
            let next = along.follow(left.as_ref(), way, &graph.params);
            if next.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let own = if trace.spot == 0 { graph.own_folder(way) } else { None };
            let open = open && matches!(way, Way::Name(_));
            if seen.insert((*target, next.clone(), open, own)) {
                waiting.push_back((trace.with(way, *target, &graph.params), next, open, own));
            }
        }
    }
    folders.retain(|(what, _)| found.iter().all(|(other, _)| other != what));
    found.extend(folders);
    found
}
