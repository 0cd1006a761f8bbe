//! Who could have made a symbolic link?
//!
//! What a rule names and is not there yet is granted by its name. Once a link lies there, the rule would be one on whatever it
//! leads to: whoever made the link, or moved it there, would have chosen that. So a link leads no rule anywhere if the rules of
//! some policy let a run make or take names where it lies, or where a folder on the way to it does.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentid_common::file::Rights;

use super::{
    automaton::{Automaton, State},
    compile::{CompileError, CompiledPolicy, Files, files},
    terrain::{Filesystem, Name, Terrain, names},
};
use crate::policy::Policy;

/// The rights by which a name comes to lead to something else.
const OF_NAMES: Rights = Rights::CREATE.union(Rights::DELETE);

/// The runs of one policy, as those who could have made a link.
pub struct Makers<'p> {
    automaton: &'p Automaton,
    starts: &'p BTreeMap<Filesystem, State>,
    unknown: State,
    params: Vec<State>,
}

/// A policy's file rules, laid onto what was surveyed.
pub struct Laid(Files);

impl Laid {
    /// The terrain must hold a survey of the policy's prefixes.
    pub fn new(policy: &Policy, terrain: &Terrain) -> Result<Self, CompileError> {
        files(policy, terrain).map(Self)
    }

    pub fn makers(&self) -> Makers<'_> {
        let Files { automaton, starts, unknown, params, .. } = &self.0;
        Makers::new(automaton, starts, *unknown, params)
    }
}

impl CompiledPolicy {
    /// The same by the rules as they are in force.
    pub fn makers(&self) -> Makers<'_> {
        Makers::new(&self.automaton, &self.starts, self.unknown, &self.params)
    }
}

impl<'p> Makers<'p> {
    fn new(
        automaton: &'p Automaton,
        starts: &'p BTreeMap<Filesystem, State>,
        unknown: State,
        params: &[(String, State)],
    ) -> Self {
        let params = params.iter().map(|(_, start)| *start).collect();
        Self { automaton, starts, unknown, params }
    }

    /// Whether one of them could have made the link at this canonical path. `given`: folders that they were given.
    pub fn could_have_made(&self, link: &Path, terrain: &Terrain, given: &[PathBuf]) -> bool {
        let Some((filesystem, inside)) = place(link, terrain) else {
            // No rule holds there.
            return false;
        };
        let start = self.starts.get(&filesystem).copied().unwrap_or(self.unknown);
        if self.makes_names(start, &inside) {
            return true;
        }
        let path = names(link);
        let below = |folder: &PathBuf| {
            let by_path = path.strip_prefix(names(folder).as_slice()).map(<[Name]>::to_vec);
            let by_place = place(folder, terrain)
                .filter(|(other, _)| *other == filesystem)
                .and_then(|(_, folder)| Some(inside.strip_prefix(folder.as_slice())?.to_vec()));
            by_path.into_iter().chain(by_place)
        };
        given
            .iter()
            .flat_map(below)
            .any(|below| self.params.iter().any(|start| self.makes_names(*start, &below)))
    }

    /// Whether the rules let names be made or taken at the last of these, or at one on the way.
    fn makes_names(&self, start: State, names: &[Name]) -> bool {
        (1..=names.len()).any(|depth| {
            let node = self.automaton.node(self.automaton.run(start, &names[..depth]));
            !node.allow.minus(node.deny).intersection(OF_NAMES).is_empty()
        })
    }
}

/// The filesystem of a canonical path, and its names there.
fn place(path: &Path, terrain: &Terrain) -> Option<(Filesystem, Vec<Name>)> {
    let mount = terrain.mount_of(path)?;
    Some((terrain.filesystem(mount)?, mount.inside(path)))
}
