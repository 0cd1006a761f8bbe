use super::*;
use crate::{
    decide::file::Head,
    file::{EDGE_GLOBS, EDGE_NAME, MAX_GLOBS},
};

/// State 1 with these globs; the set of those that a name fits leads to the state ten beyond it, other names to 2.
fn with_globs(patterns: &[&str]) -> Tables {
    let mut tables = tables();
    tables.state(1, Rights::NONE, Rights::NONE);
    let node = tables.nodes.get_mut(&1).unwrap();
    (node.other, node.globs) = (2, 1);
    for (index, pattern) in (1..).zip(patterns) {
        let next = if index as usize == patterns.len() { 0 } else { index + 1 };
        tables.globs.insert(index, Glob { next, ..Glob::new(pattern.as_bytes()).unwrap() });
    }
    for set in 1..1_u32 << patterns.len() {
        tables.edges.insert(EdgeKey::of_globs(1, set), 10 + set);
    }
    tables
}

fn follow(tables: &Tables, hash: u64, name: &str) -> Result<u32, Fault> {
    let mut search = Search::default();
    search.heads[2] = Head { state: 1, level: 1 };
    search.descend(tables, 0, hash, &mut written(name))?;
    Ok(search.heads[2].state)
}

#[test]
fn the_set_of_globs_that_fit_leads_on() {
    let tables = with_globs(&["*.pem", "id_*", "?"]);
    assert_eq!(follow(&tables, 0, "plain"), Ok(2));
    assert_eq!(follow(&tables, 0, "key.pem"), Ok(11));
    assert_eq!(follow(&tables, 0, "id_rsa"), Ok(12));
    assert_eq!(follow(&tables, 0, "id_rsa.pem"), Ok(13));
    assert_eq!(follow(&tables, 0, "x"), Ok(14));
}

#[test]
fn the_edge_of_a_name_comes_before_its_globs() {
    let mut tables = with_globs(&["*.pem"]);
    tables.edge_to(1, 77, 5);
    assert_eq!(follow(&tables, 77, "key.pem"), Ok(5));
    assert_eq!(follow(&tables, 78, "key.pem"), Ok(11));
    // A state without edges by name does not look for one.
    tables.nodes.get_mut(&1).unwrap().edges = 0;
    assert_eq!(follow(&tables, 77, "key.pem"), Ok(11));
}

#[test]
fn a_hash_is_never_taken_for_a_set() {
    let mut tables = with_globs(&["*.pem"]);
    tables.nodes.get_mut(&1).unwrap().edges = 1;
    // The hash of this name is the number of the set.
    assert_eq!(follow(&tables, 1, "plain"), Ok(2));
    assert_ne!(EDGE_NAME, EDGE_GLOBS);
}

#[test]
fn what_is_missing_is_a_fault() {
    let names = ["a", "b"];
    let missing = Err(Fault::StateLookup);
    let mut tables = with_globs(&["a", "*"]);
    tables.edges.remove(&EdgeKey::of_globs(1, 2));
    assert_eq!(names.map(|name| follow(&tables, 0, name)), [Ok(13), missing]);
    let mut tables = with_globs(&["a", "*"]);
    tables.globs.remove(&2);
    assert_eq!(names.map(|name| follow(&tables, 0, name)), [missing; 2]);
    let mut tables = with_globs(&["a"]);
    tables.globs.get_mut(&1).unwrap().length = 65;
    assert_eq!(names.map(|name| follow(&tables, 0, name)), [missing; 2]);
}

#[test]
fn a_list_longer_than_the_bound_is_a_fault() {
    let patterns = ["a*", "b*", "c*", "d*", "e*", "f*", "g*"];
    let most = MAX_GLOBS as usize;
    assert_eq!(follow(&with_globs(&patterns[..most]), 0, "fx"), Ok(42));
    assert_eq!(follow(&with_globs(&patterns), 0, "fx"), Err(Fault::StateLookup));
    // Or in a circle.
    let mut tables = with_globs(&patterns[..2]);
    tables.globs.get_mut(&2).unwrap().next = 1;
    assert_eq!(follow(&tables, 0, "plain"), Err(Fault::StateLookup));
}

#[test]
fn a_name_that_is_too_long_is_a_fault() {
    let tables = with_globs(&["*"]);
    let mut name = written("x");
    name.length = 256;
    let mut search = Search::default();
    search.heads[0] = Head { state: 1, level: 1 };
    assert_eq!(search.descend(&tables, 0, 0, &mut name), Err(Fault::StateLookup));
}

#[test]
fn every_head_compares_the_name_for_itself() {
    let mut tables = with_globs(&["*.pem", "id_*"]);
    tables.state(3, Rights::NONE, Rights::NONE);
    tables.nodes.get_mut(&3).unwrap().globs = 2;
    tables.edges.insert(EdgeKey::of_globs(3, 1), 30);
    let heads = [(1, 1), (3, 1), (3, 2), (0, 0)].map(|(state, level)| Head { state, level });
    let mut search = Search { heads, ..Search::default() };
    search.descend(&tables, 0, 0, &mut written("id_a.pem")).unwrap();
    assert_eq!(search.heads.map(|head| head.state), [13, 30, 30, 0]);
}
