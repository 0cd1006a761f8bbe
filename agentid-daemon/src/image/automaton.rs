//! Many patterns as one machine that reads one name at a time.
//!
//! The states are sets of tails (subset construction): what could still follow, given the names so far. Equal sets
//! are one state, and the empty set is the dead state, number 0.
//!
//! Which globs a name fits is not known before it comes, so each set of a state's globs is an edge, those of globs that
//! no name fits at once as well.

use std::collections::BTreeMap;

use agentid_common::{
    file::{MAX_GLOBS, Node},
    glob::fits,
};

use super::{
    tail::{Store, Tails},
    terrain::Name,
};

/// Index of a state; 0 is the dead one.
pub(super) type State = usize;

/// Most states of one policy: a sixteenth of what all policies of a host can have.
pub(super) const MAX_STATES: usize = 4096;

/// More than the maps can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooMany {
    /// More than [`MAX_STATES`].
    States,
    /// More than [`MAX_GLOBS`] in one state: these.
    Globs(Vec<Name>),
}

/// One state.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    tails: Tails,
    pub(super) other: State,
    /// The names that lead elsewhere than the globs that they fit.
    pub(super) edges: BTreeMap<Name, State>,
    pub(super) globs: Vec<Name>,
    /// By set of globs, from the set of the first one on. The empty set leads to `other`.
    pub(super) sets: Vec<State>,
    /// Without the numbers of other states, which are not known here.
    pub(super) node: Node,
}

impl Place {
    /// Where a name leads that has no edge of its own.
    fn without_edge(&self, name: &Name) -> State {
        let bits = (0..).zip(&self.globs).filter(|(_, glob)| fits(glob, name));
        let set = bits.fold(0_usize, |set, (bit, _)| set | 1 << bit);
        set.checked_sub(1).map_or(self.other, |index| self.sets[index])
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    places: Vec<Place>,
}

impl Automaton {
    /// Makes a state for each of the sets, and all that can be reached from them.
    pub(super) fn build(store: &Store, starts: &[Tails]) -> Result<(Self, Vec<State>), TooMany> {
        let mut known = BTreeMap::new();
        let mut places = Vec::new();
        let mut enter = |places: &mut Vec<Place>, tails: Tails| -> State {
            *known.entry(store.prune(&tails)).or_insert_with_key(|tails| {
                let node = store.node(tails);
                places.push(Place { tails: tails.clone(), node, ..Place::default() });
                places.len() - 1
            })
        };
        enter(&mut places, Tails::new());
        let starts = starts.iter().map(|tails| enter(&mut places, tails.clone())).collect();
        let mut done = 1;
        while done < places.len() {
            if places.len() > MAX_STATES {
                return Err(TooMany::States);
            }
            let tails = places[done].tails.clone();
            let other = enter(&mut places, store.after_any_name(&tails));
            let globs = store.globs(&tails);
            if globs.len() > MAX_GLOBS as usize {
                return Err(TooMany::Globs(globs));
            }
            let in_set = |set: u32, glob: &Name| {
                globs.iter().position(|other| other == glob).is_none_or(|bit| set >> bit & 1 != 0)
            };
            let mut sets = Vec::new();
            for set in 1..1 << globs.len() {
                sets.push(enter(&mut places, store.after_globs(&tails, |glob| in_set(set, glob))));
            }
            let each = store.after_each_name(&tails);
            places[done] = Place { other, globs, sets, ..places[done].clone() };
            for (name, left) in each {
                let target = enter(&mut places, left);
                if target != places[done].without_edge(&name) {
                    places[done].edges.insert(name, target);
                }
            }
            done += 1;
        }
        Ok((Self { places }, starts))
    }

    /// Where the names lead from a state.
    pub(super) fn run(&self, start: State, names: &[Name]) -> State {
        names.iter().fold(start, |state, name| {
            let place = &self.places[state];
            place.edges.get(name).copied().unwrap_or_else(|| place.without_edge(name))
        })
    }

    /// What the rules say of a file that ends in a state.
    pub(super) fn node(&self, state: State) -> &Node {
        &self.places[state].node
    }

    /// Whether `state` says everything that `part` says.
    pub(super) fn includes(&self, state: State, part: State) -> bool {
        self.places[part].tails.is_subset(&self.places[state].tails)
    }

    /// All states but the dead one.
    pub(super) fn live(&self) -> impl ExactSizeIterator<Item = &Place> {
        self.places.iter().skip(1)
    }
}
