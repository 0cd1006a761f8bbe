//! The lists of globs that states refer to.
//!
//! A list is a chain from glob to glob, so lists with the same end share it.

use std::collections::BTreeSet;

use super::{automaton::Automaton, terrain::Name};

/// Every end of every list, none twice: as many as there are elements in the map.
pub(super) fn ends(automaton: &Automaton) -> BTreeSet<&[Name]> {
    let lists = automaton.live().map(|place| place.globs.as_slice());
    lists.flat_map(|list| (0..list.len()).map(|start| &list[start..])).collect()
}
