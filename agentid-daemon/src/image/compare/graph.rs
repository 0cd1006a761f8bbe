//! All that the file rules of two policies can tell apart, as one graph: where a path can be in both machines at once.
//!
//! A parameter may begin in any folder, so that its rules can meet any of the others.

use std::collections::{BTreeMap, BTreeSet};

use agentid_common::{
    decide::{
        file::{Head, Search},
        lifecycle::Scopes,
    },
    file::{HEADS, Rights, SOCKETS},
    glob::Spelling,
    name,
    verdict::{Answer, Fault},
};

use super::{
    super::{
        assumed::{Assumed, KEY, anchor},
        terrain::Name,
    },
    CompareError,
    names::names,
};

/// Most spots that are gone through.
const MOST: usize = 60_000;

/// The states of the heads on one side.
type States = [u32; HEADS];

/// What all paths have in common that lead here: every question about them has one answer on each side.
#[derive(Clone, Debug)]
pub struct Spot {
    pub states: [States; 2],
    /// Where one name more leads, or the beginning of a parameter.
    pub ways: Vec<(Way, usize)>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Name(Vec<u8>),
    /// The parameter with this index in [`Graph::params`] begins in this folder.
    Begin(usize),
}

/// The graph, the root of the disk first.
#[derive(Debug)]
pub struct Graph<'a> {
    sides: [&'a Assumed; 2],
    /// Names of the parameters of either.
    pub params: Vec<String>,
    pub spots: Vec<Spot>,
}

/// What tells spots apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    states: [States; 2],
    begun: u32,
    /// Where no parameter can begin.
    root: bool,
}

/// The names that a state tells from others, and its globs.
type Told = BTreeMap<u32, (BTreeSet<Name>, BTreeSet<Name>)>;

impl<'a> Graph<'a> {
    /// Of files.
    pub fn of(sides: [&'a Assumed; 2]) -> Result<Self, CompareError> {
        let both = sides.iter().flat_map(|side| &side.compiled.params);
        let params: BTreeSet<String> = both.map(|(name, _)| name.clone()).collect();
        let root = Key { states: sides.map(|side| root(side, &of_disk)), begun: 0, root: true };
        Self::from(sides, params.into_iter().collect(), root)
    }

    /// Of abstract names of unix sockets: the first name on a path is one, and there is nothing below.
    pub fn of_abstract(sides: [&'a Assumed; 2]) -> Result<Self, CompareError> {
        let states = sides.map(|side| root(side, &of_sockets));
        Self::from(sides, Vec::new(), Key { states, begun: 0, root: true })
    }

    fn from(sides: [&'a Assumed; 2], params: Vec<String>, root: Key) -> Result<Self, CompareError> {
        let mut graph = Self { sides, params, spots: Vec::new() };
        let told = sides.map(told);
        let mut known_names = BTreeMap::new();
        let mut known = BTreeMap::from([(root, 0)]);
        let mut keys = vec![root];
        while let Some(&key) = keys.get(graph.spots.len()) {
            let (mut spelt, mut globs) = (BTreeSet::new(), BTreeSet::new());
            for (told, states) in told.iter().zip(key.states) {
                for (names, patterns) in states.iter().filter_map(|state| told.get(state)) {
                    spelt.extend(names.iter().cloned());
                    globs.extend(patterns.iter().cloned());
                }
            }
            let names = match known_names.get(&(spelt.clone(), globs.clone())) {
                Some(names) => names,
                None => {
                    let names = names(&spelt, &globs)?;
                    known_names.entry((spelt, globs)).or_insert(names)
                }
            };
            let own = graph.params.iter().filter(|_| key.root).map(|name| placeholder(name));
            let ways = own.chain(names.iter().cloned()).map(Way::Name);
            let begin = (0..graph.params.len())
                .filter(|index| !key.root && key.begun >> index & 1 == 0)
                .map(Way::Begin);
            let mut spot = Spot { states: key.states, ways: Vec::new() };
            for way in ways.chain(begin) {
                let next = graph.next(&key, &way)?;
                let number = keys.len();
                let target = *known.entry(next).or_insert(number);
                if target == number {
                    keys.push(next);
                }
                spot.ways.push((way, target));
            }
            graph.spots.push(spot);
            if keys.len() > MOST {
                return Err(CompareError::TooLarge);
            }
        }
        Ok(graph)
    }

    fn next(&self, key: &Key, way: &Way) -> Result<Key, CompareError> {
        let mut next = Key { root: false, ..*key };
        match way {
            Way::Name(name) => {
                for (states, side) in next.states.iter_mut().zip(self.sides) {
                    *states = descended(side, *states, name)?;
                }
            }
            Way::Begin(index) => {
                next.begun |= 1 << index;
                for (states, side) in next.states.iter_mut().zip(self.sides) {
                    let heads = (1..).zip(&side.compiled.params);
                    for (head, (_, start)) in heads.filter(|(_, it)| it.0 == self.params[*index]) {
                        states[head] = side.compiled.nodes[*start];
                    }
                }
            }
        }
        Ok(next)
    }

    /// The parameter whose folder this name in the root stands for.
    pub(super) fn own_folder(&self, way: &Way) -> Option<usize> {
        let Way::Name(name) = way else { return None };
        self.params.iter().position(|param| placeholder(param) == *name)
    }

    /// What each side says of the right at a spot.
    pub fn answers(&self, spot: &Spot, right: Rights) -> [Answer; 2] {
        let [one, other] = self.sides;
        [judged(one, spot.states[0], right), judged(other, spot.states[1], right)]
    }
}

/// What a parameter's folder is called where it lies anywhere.
pub fn placeholder(param: &str) -> Vec<u8> {
    format!("${{{param}}}").into_bytes()
}

fn told(side: &Assumed) -> Told {
    let compiled = &side.compiled;
    let places = compiled.automaton.live().zip(compiled.nodes.iter().skip(1));
    let told = places.map(|(place, &state)| {
        (state, (place.edges.keys().cloned().collect(), place.globs.iter().cloned().collect()))
    });
    told.collect()
}

fn search(states: States) -> Search {
    let mut search = Search::new(Scopes::default());
    search.heads = states.map(|state| Head { state, level: 1 });
    search
}

fn states(search: &Search) -> States {
    search.heads.map(|head| head.state)
}

/// Where a search stands in the root that it begins at, that of no parameter.
fn root(side: &Assumed, begin: &dyn Fn(&Assumed, &mut Search)) -> States {
    let mut search = Search::new(Scopes { policy: side.compiled.scope, params: 0 });
    begin(side, &mut search);
    states(&search)
}

fn of_disk(side: &Assumed, search: &mut Search) {
    search.visit(&side.facts(), &anchor("/".as_ref()), 1);
}

fn of_sockets(side: &Assumed, search: &mut Search) {
    search.visit_type(&side.facts(), SOCKETS, 1);
}

fn descended(side: &Assumed, before: States, name: &Name) -> Result<States, CompareError> {
    let mut search = search(before);
    let spelling = Spelling::of(name).ok_or(Fault::WalkRead);
    let followed = spelling.and_then(|mut spelling| {
        search.descend(&side.facts(), 0, name::hash(&KEY, name), &mut spelling)
    });
    followed.map(|()| states(&search)).map_err(CompareError::Fault)
}

fn judged(side: &Assumed, at: States, right: Rights) -> Answer {
    search(at).judge(&side.facts(), right)
}
