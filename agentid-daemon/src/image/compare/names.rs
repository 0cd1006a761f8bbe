//! Names that stand for all others: one for each set of globs that some name fits, and each that a pattern spells out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use agentid_common::{file::MAX_NAME, glob::fits};

use super::{super::terrain::Name, CompareError};

/// Most prefixes of names that are gone through.
const MOST: usize = 200_000;

/// What a prefix leads to. Two names with the same are alike in all that may still follow.
type Prefix = (Option<Name>, Vec<u128>);

/// Names of which every name has one that is like it: spelt out, or fitting the same globs. Shorter ones come first.
pub(super) fn names(
    spelt: &BTreeSet<Name>,
    globs: &BTreeSet<Name>,
) -> Result<Vec<Name>, CompareError> {
    let mut known = spelt.clone();
    // No file has these.
    known.extend([b".".to_vec(), b"..".to_vec()]);
    let alphabet = alphabet(&known, globs);
    let mut found: BTreeMap<Vec<bool>, Name> = BTreeMap::new();
    let mut order = Vec::new();
    let start: Prefix = (Some(Name::new()), globs.iter().map(|glob| closed(glob, 1)).collect());
    let mut seen = BTreeSet::from([start.clone()]);
    let mut waiting = VecDeque::from([(Name::new(), start)]);
    while let Some((word, (spelling, places))) = waiting.pop_front() {
        if !word.is_empty() && !known.contains(&word) {
            let fitting = globs.iter().map(|glob| fits(glob, &word)).collect();
            if found.insert(fitting, word.clone()).is_none() {
                order.push(word.clone());
            }
        }
        if word.len() == MAX_NAME {
            continue;
        }
        for &byte in &alphabet {
            let mut longer = word.clone();
            longer.push(byte);
            let begins = |known: &&Name| known.starts_with(&longer);
            let spelling = spelling.as_ref().and_then(|_| known.range(longer.clone()..).next());
            let spelling = spelling.filter(begins).map(|_| longer.clone());
            let places = globs.iter().zip(&places).map(|(glob, set)| step(glob, *set, byte));
            let next = (spelling, places.collect());
            if seen.insert(next.clone()) {
                waiting.push_back((longer, next));
            }
            if seen.len() > MOST {
                return Err(CompareError::TooLarge);
            }
        }
    }
    order.extend(spelt.iter().cloned());
    Ok(order)
}

/// Every byte that some pattern tells from others, and first one that none does.
fn alphabet(known: &BTreeSet<Name>, globs: &BTreeSet<Name>) -> Vec<u8> {
    let told: BTreeSet<u8> = known.iter().chain(globs).flatten().copied().collect();
    let plain = (b'a'..=b'z').rev().chain(b'0'..=b'9').chain(b'A'..=b'Z').chain(1..=u8::MAX);
    let plain = b"x".iter().copied().chain(plain);
    let other = plain.filter(|byte| *byte != b'/' && !told.contains(byte)).take(1);
    let signs = told.iter().copied().filter(|byte| !b"*?".contains(byte));
    other.chain(signs).collect()
}

/// Bit `n` is the place before sign `n` of the glob.
fn step(glob: &Name, places: u128, byte: u8) -> u128 {
    let mut next = 0;
    for (place, &sign) in glob.iter().enumerate().filter(|(place, _)| places >> place & 1 != 0) {
        match sign {
            b'*' => next |= 1 << place,
            sign if sign == b'?' || sign == byte => next |= 2 << place,
            _ => {}
        }
    }
    closed(glob, next)
}

/// With the places behind each `*`.
fn closed(glob: &Name, mut places: u128) -> u128 {
    for (place, _) in glob.iter().enumerate().filter(|(_, sign)| **sign == b'*') {
        if places >> place & 1 != 0 {
            places |= 2 << place;
        }
    }
    places
}
