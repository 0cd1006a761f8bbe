//! The names that stand for all others.

use std::collections::BTreeSet;

use agentid_common::glob::fits;
use proptest::{prelude::*, sample::select};

use super::names::names;

fn set(names: &[&str]) -> BTreeSet<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// What a name is told from others by.
fn kind(name: &[u8], spelt: &BTreeSet<Vec<u8>>, globs: &BTreeSet<Vec<u8>>) -> (Vec<u8>, Vec<bool>) {
    let own = spelt.get(name).cloned().unwrap_or_default();
    (own, globs.iter().map(|glob| fits(glob, name)).collect())
}

#[test]
fn each_kind_of_name_has_one_that_is_short() {
    let found = |spelt: &[&str], globs: &[&str]| -> Vec<String> {
        let names = names(&set(spelt), &set(globs)).unwrap();
        names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    };
    assert_eq!(found(&[], &[]), ["x"]);
    assert_eq!(found(&["a", "x"], &[]), ["z", "a", "x"]);
    assert_eq!(found(&[], &["*.db", ".*"]), ["x", ".x", ".db", "x.db"]);
    // Nobody is called so, and `?` fits one byte.
    assert_eq!(found(&["."], &["?"])[..2], ["x", "xx"]);
}

proptest! {
    #[test]
    fn every_name_is_like_one_of_them(
        spelt in prop::collection::btree_set(select(&["a", "ab", ".env", "b", "abc"][..]), 0..4),
        globs in prop::collection::btree_set("[ab?*.]{1,4}", 0..4),
        asked in prop::collection::vec("[abcx.]{1,6}", 20),
    ) {
        let spelt = set(&spelt.into_iter().collect::<Vec<_>>());
        let globs = globs.into_iter().filter(|it| it.contains(['*', '?'])).map(String::into_bytes);
        let globs: BTreeSet<_> = globs.collect();
        let found = names(&spelt, &globs).unwrap();
        let kinds: BTreeSet<_> = found.iter().map(|name| kind(name, &spelt, &globs)).collect();
        prop_assert_eq!(kinds.len(), found.len());
        for name in asked.iter().filter(|name| *name != "." && *name != "..") {
            prop_assert!(kinds.contains(&kind(name.as_bytes(), &spelt, &globs)), "{}", name);
        }
    }
}
