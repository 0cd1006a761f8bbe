//! From a policy and the terrain to what the maps hold for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use agentid_common::{
    file::{AnchorKey, MAX_GLOBS, Rights},
    name::{self, NameKey},
};

use super::{
    automaton::{Automaton, MAX_STATES, State, TooMany},
    diff::MapOp,
    emit::Emit,
    file::Space,
    globs,
    hosts::Hosts,
    net::{self, Table},
    numbers::{Full, Held, Need, Numbers},
    tail::{Store, Tails, Verdict, steps},
    terrain::{Filesystem, Ground, Name, Terrain},
};
use crate::policy::{Component, Effect, Pattern, Policy, Root};

/// Why a policy cannot be compiled here and now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{} was not surveyed", .0.display())]
    NotSurveyed(PathBuf),
    #[error("{} lies on no mount", .0.display())]
    NoMount(PathBuf),
    #[error("{} leads into the process that asks, so no rule can name it", .0.display())]
    NamesTheAsker(PathBuf),
    #[error(
        "file rules need more than {MAX_STATES} states: name fewer files, or use fewer `**` in one pattern"
    )]
    TooManyStates,
    #[error(
        "names in one folder have to be compared with {}, and at most {MAX_GLOBS} are possible: write names in full, or let one pattern stand for several",
        .0.join(", ")
    )]
    TooManyGlobs(Vec<String>),
    #[error("maps have no room for the policy")]
    Full(#[from] Full),
}

/// A policy as the maps hold it.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// What instances name it by.
    pub scope: u64,
    /// Makes it known; nothing refers to it before an instance does.
    pub ops: Vec<MapOp>,
    /// Takes it back, once no instance refers to it. [`Numbers::release`] of `held` comes after.
    pub removal: Vec<MapOp>,
    pub held: Held,
    /// By hash: the names in its patterns, for people.
    pub names: BTreeMap<u64, String>,
    /// What its rules say of host names.
    pub hosts: Hosts,
    /// The paths that its rules begin with.
    pub ground: Ground,
    pub(super) params: Vec<(String, State)>,
    pub(super) automaton: Automaton,
    pub(super) nodes: Vec<u32>,
    pub(super) starts: BTreeMap<Filesystem, State>,
    pub(super) unknown: State,
    pub(super) denied: Vec<Vec<Name>>,
}

/// The paths that a survey for this policy must look at.
pub fn prefixes(policy: &Policy) -> Vec<PathBuf> {
    let patterns = policy.file_rules().iter().flat_map(|rule| &rule.patterns);
    let prefixes: BTreeSet<PathBuf> =
        patterns.filter(|pattern| pattern.root == Root::Filesystem).map(Pattern::prefix).collect();
    prefixes.into_iter().collect()
}

/// Where the rules begin. A denial of names anywhere holds on every filesystem, also on those that are not there yet.
fn ground(policy: &Policy, terrain: &Terrain) -> Ground {
    let bound_to_mounts = |effect: Effect<Rights>, pattern: &Pattern| {
        let anywhere = matches!(pattern.components.first(), Some(Component::Any));
        pattern.root == Root::Filesystem && !(matches!(effect, Effect::Deny(_)) && anywhere)
    };
    let patterns = policy.file_rules().iter().flat_map(|rule| {
        rule.patterns.iter().filter(move |pattern| bound_to_mounts(rule.effect, pattern))
    });
    Ground::of(patterns.filter_map(|pattern| terrain.folder(&pattern.prefix())))
}

/// Compiles; `numbers` is changed only on success.
pub fn compile(
    policy: &Policy,
    terrain: &Terrain,
    names: &NameKey,
    numbers: &mut Numbers,
) -> Result<CompiledPolicy, CompileError> {
    let files = files(policy, terrain)?;
    let nets = net::table(policy.net_rules());
    let need = need(&files, &nets, numbers);
    numbers.check(&need)?;

    let mut emit = Emit::new(numbers, need);
    let nodes = emit.automaton(&files.automaton, names);
    emit.entries(files.anchored(), &nodes);
    let classes = emit.nets(&nets);
    let hosts = Hosts::of(policy.net_rules(), &nets, &classes, names);
    let Emit { scope, ops, removal, held, .. } = emit;
    Ok(CompiledPolicy {
        scope,
        ops,
        removal: removal.into_ops(),
        held,
        names: known_names(&files.automaton, names),
        hosts,
        ground: ground(policy, terrain),
        params: files.params,
        automaton: files.automaton,
        nodes,
        starts: files.starts,
        unknown: files.unknown,
        denied: files.space.denied,
    })
}

impl From<TooMany> for CompileError {
    fn from(too_many: TooMany) -> Self {
        match too_many {
            TooMany::States => Self::TooManyStates,
            TooMany::Globs(globs) => {
                let text = |glob: &Name| format!("`{}`", String::from_utf8_lossy(glob));
                Self::TooManyGlobs(globs.iter().map(text).collect())
            }
        }
    }
}

/// The file rules as one machine, and where each scope of it begins.
pub(super) struct Files {
    pub(super) automaton: Automaton,
    pub(super) starts: BTreeMap<Filesystem, State>,
    pub(super) unknown: State,
    pub(super) params: Vec<(String, State)>,
    space: Space,
}

pub(super) fn files(policy: &Policy, terrain: &Terrain) -> Result<Files, CompileError> {
    let mut store = Store::default();
    let mut space = Space::of(terrain);
    let mut params = vec![Tails::new(); policy.params().len()];
    for (number, rule) in (1..).zip(policy.file_rules()) {
        let (allow, deny) = match rule.effect {
            Effect::Allow(rights) => (rights, Rights::NONE),
            Effect::Deny(rights) => (Rights::NONE, rights),
        };
        store.rule(Verdict { rule: number, allow, deny, tripwire: rule.tripwire });
        for pattern in &rule.patterns {
            match pattern.root {
                Root::Filesystem => {
                    space.lay(pattern, !deny.is_empty(), terrain, &mut store)?;
                }
                Root::Parameter(index) => {
                    let tail = store.pattern(steps(&pattern.components).into_iter());
                    store.add(&mut params[index], tail);
                }
                Root::Abstract => space.lay_abstract(pattern, &mut store),
            }
        }
    }
    let mut sets: Vec<Tails> = space.filesystems.values().cloned().collect();
    sets.push(space.unknown.clone());
    sets.extend(params);
    let (automaton, states) = Automaton::build(&store, &sets)?;
    let mut states = states.into_iter();
    let starts = space.filesystems.keys().copied().zip(states.by_ref()).collect();
    let unknown = states.next().unwrap_or_default();
    let params = policy.params().iter().cloned().zip(states).collect();
    Ok(Files { automaton, starts, unknown, params, space })
}

impl Files {
    /// The states at all anchors where the policy says anything.
    fn anchored(&self) -> impl Iterator<Item = (&AnchorKey, State)> {
        self.space.anchors.iter().filter_map(|(key, (filesystem, inside))| {
            let state = self.automaton.run(*self.starts.get(filesystem)?, inside);
            (state != 0).then_some((key, state))
        })
    }
}

fn need(files: &Files, nets: &Table, numbers: &Numbers) -> Need {
    Need {
        anchors: numbers.new_anchors(files.anchored().map(|(key, _)| key)),
        entries: files.anchored().count() as u32,
        nodes: files.automaton.live().len() as u32,
        edges: files
            .automaton
            .live()
            .map(|place| (place.edges.len() + place.sets.len()) as u32)
            .sum(),
        globs: globs::ends(&files.automaton).len() as u32,
        peers: nets.peers.len() as u32,
        ports: nets.classes.iter().map(|lines| lines.len() as u32).sum(),
    }
}

fn known_names(automaton: &Automaton, key: &NameKey) -> BTreeMap<u64, String> {
    let names = automaton.live().flat_map(|place| place.edges.keys());
    names.map(|name| (name::hash(key, name), String::from_utf8_lossy(name).into_owned())).collect()
}
