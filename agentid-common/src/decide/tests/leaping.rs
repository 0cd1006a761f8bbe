use super::*;
use crate::decide::file::Head;

/// Two levels have the name with an edge, the one between them has another.
const NAMES: [u64; 3] = [1, 2, 1];
const STATES: u32 = 3;

/// Every automaton of three states: where each leads by any name, and by the name 1 if that is elsewhere.
fn automata() -> impl Iterator<Item = Tables> {
    let ways = (STATES + 1) * (STATES + 2);
    (0..ways.pow(STATES)).map(move |mut number| {
        let mut tables = tables();
        for state in 1..=STATES {
            let (other, edge) = (number % (STATES + 1), number / (STATES + 1) % (STATES + 2));
            number /= ways;
            tables.state(state, Rights::READ, Rights::NONE);
            tables.nodes.get_mut(&state).unwrap().other = other;
            if edge <= STATES {
                tables.edge_to(state, 1, edge);
            }
        }
        tables
    })
}

fn searches() -> impl Iterator<Item = Search> {
    let heads = (0..=STATES).flat_map(|state| (0..=3).map(move |level| Head { state, level }));
    heads.map(|head| {
        let mut search = Search::default();
        // The second one has all names before it.
        search.heads[0] = head;
        search.heads[3] = Head { state: 1, level: 3 };
        search
    })
}

fn descended(mut search: Search, tables: &Tables) -> [u32; HEADS] {
    for level in (0..search.top().unwrap_or(0)).rev() {
        let name = NAMES[level as usize];
        search.descend(tables, level, name, &mut written(&name.to_string())).unwrap();
    }
    search.heads.map(|head| head.state)
}

#[test]
fn a_leap_comes_to_what_the_names_lead_to() {
    let mut leaps = 0;
    for tables in automata() {
        for search in searches() {
            let mut leaping = search;
            leaping.leap(&tables).unwrap();
            leaps += usize::from(leaping.heads != search.heads);
            assert_eq!(descended(leaping, &tables), descended(search, &tables));
        }
    }
    assert_ne!(leaps, 0);
}

#[test]
fn a_name_that_matters_is_not_leapt_over() {
    let mut tables = tables();
    tables.state(1, Rights::READ, Rights::NONE);
    tables.nodes.get_mut(&1).unwrap().other = 1;
    tables.edge_to(1, 2, DEAD);
    let mut search = Search::default();
    search.heads[0] = Head { state: 1, level: 3 };
    search.leap(&tables).unwrap();
    assert_eq!(search.top(), Some(3));
}

#[test]
fn a_glob_is_not_leapt_over() {
    let mut tables = tables();
    tables.state(1, Rights::READ, Rights::NONE);
    let node = tables.nodes.get_mut(&1).unwrap();
    (node.other, node.globs) = (1, 1);
    // Where the head is, and where it would leap to.
    for state in [1, 2] {
        tables.state(2, Rights::READ, Rights::NONE);
        tables.nodes.get_mut(&2).unwrap().other = 1;
        let mut search = Search::default();
        search.heads[0] = Head { state, level: 3 };
        search.leap(&tables).unwrap();
        assert_eq!(search.top(), Some(3));
    }
}

#[test]
fn a_leap_from_or_to_a_missing_state_is_a_fault() {
    let mut tables = tables();
    tables.state(1, Rights::READ, Rights::NONE);
    tables.nodes.get_mut(&1).unwrap().other = 5;
    for state in [1, 6] {
        let mut search = Search::default();
        search.heads[0] = Head { state, level: 1 };
        assert_eq!(search.leap(&tables), Err(Fault::StateLookup));
    }
}
