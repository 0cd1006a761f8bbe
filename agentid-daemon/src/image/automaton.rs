//! Many patterns as one machine that reads one name at a time.
//!
//! The states are sets of tails (subset construction): what could still follow, given the names so far. Equal sets
//! are one state, and the empty set is the dead state, number 0.

use std::collections::BTreeMap;

use agentid_common::file::Node;

use super::{
    tail::{Store, Tails},
    terrain::Name,
};

/// Index of a state; 0 is the dead one.
pub(super) type State = usize;

/// Most states of one policy: a sixteenth of what all policies of a host can have.
pub(super) const MAX_STATES: usize = 4096;

/// More states than [`MAX_STATES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyStates;

/// One state.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    tails: Tails,
    pub(super) other: State,
    /// The names that do not lead to `other`.
    pub(super) edges: BTreeMap<Name, State>,
    /// Without the numbers of other states, which are not known here.
    pub(super) node: Node,
}

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    places: Vec<Place>,
}

impl Automaton {
    /// Makes a state for each of the sets, and all that can be reached from them.
    pub(super) fn build(
        store: &Store,
        starts: &[Tails],
    ) -> Result<(Self, Vec<State>), TooManyStates> {
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
                return Err(TooManyStates);
            }
            let tails = places[done].tails.clone();
            let other = enter(&mut places, store.after_any_name(&tails));
            let mut edges = BTreeMap::new();
            for (name, left) in store.after_each_name(&tails) {
                let target = enter(&mut places, left);
                if target != other {
                    edges.insert(name, target);
                }
            }
            places[done].other = other;
            places[done].edges = edges;
            done += 1;
        }
        Ok((Self { places }, starts))
    }

    /// Where the names lead from a state.
    pub(super) fn run(&self, start: State, names: &[Name]) -> State {
        names.iter().fold(start, |state, name| {
            let place = &self.places[state];
            place.edges.get(name).copied().unwrap_or(place.other)
        })
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
