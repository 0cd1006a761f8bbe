extern crate std;

use std::{string::String, vec, vec::Vec};

use proptest::prelude::*;

use super::*;

/// Whether the name fits, by the words of the reference.
fn naive(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => naive(rest, name) || !name.is_empty() && naive(glob, &name[1..]),
        ([b'?', rest @ ..], [_, after @ ..]) => naive(rest, after),
        ([sign, rest @ ..], [first, after @ ..]) => sign == first && naive(rest, after),
        ([_, ..], []) | ([], [_, ..]) => false,
    }
}

/// How many turns a comparison takes.
fn turns(glob: &[u8], name: &[u8]) -> u32 {
    struct Counting<'a>(Comparing<'a>, u32);
    impl Turn for Counting<'_> {
        fn turn(&mut self, index: u32) -> Flow {
            self.1 += 1;
            self.0.turn(index)
        }
    }
    let (glob, mut name) = (Glob::new(glob).unwrap(), Spelling::of(name).unwrap());
    begin(&glob, &mut name);
    let mut counting = Counting(Comparing { glob: &glob, name: &mut name }, 0);
    plain_loop(u32::MAX, &mut counting);
    counting.1
}

#[track_caller]
fn fit(glob: &str, names: &[&str]) {
    for name in names {
        assert!(fits(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
        assert!(naive(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
    }
}

#[track_caller]
fn differ(glob: &str, names: &[&str]) {
    for name in names {
        assert!(!fits(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
        assert!(!naive(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
    }
}

#[test]
fn a_star_is_any_number_of_bytes() {
    fit("*.pem", &[".pem", "key.pem", "a.pem.pem", "*.pem"]);
    differ("*.pem", &["pem", "key.pe", "key.pem2", ".PEM", ""]);
    fit("id_*", &["id_", "id_ed25519", "id_*"]);
    differ("id_*", &["id", "xid_rsa"]);
    fit(".env*", &[".env", ".env.local"]);
    differ(".env*", &["env", "x.env"]);
    fit("*", &["", "x", ".hidden"]);
    fit("a*b*c", &["abc", "aXbYc", "abbcc", "abcbc"]);
    differ("a*b*c", &["ac", "acb", "bac", "abcd"]);
    fit("*a*", &["a", "ba", "ab", "bab"]);
    differ("*a*", &["", "b"]);
}

#[test]
fn a_question_mark_is_one_byte() {
    fit("?", &["a", "?", "*", "."]);
    differ("?", &["", "ab", "ä"]);
    fit("??", &["ab", "ä"]);
    fit("a*b?c", &["abxc", "aXXbbc", "ab?c"]);
    differ("a*b?c", &["abc", "axc", "abxcd"]);
    fit("?*", &["a", "abc"]);
    differ("?*", &[""]);
    fit("*?", &["a", "abc"]);
    differ("*?", &[""]);
}

#[test]
fn every_other_sign_is_itself() {
    fit("[a]{b}\\*", &["[a]{b}\\", "[a]{b}\\x"]);
    differ("[a]*", &["a", "ax"]);
    fit("plain", &["plain"]);
    differ("plain", &["plai", "plainer", ""]);
}

#[test]
fn the_longest_fit_and_longer_does_not_exist() {
    let (glob, name) = ([b'?'; MAX_GLOB], [b'a'; MAX_NAME]);
    assert!(fits(&glob, &name[..MAX_GLOB]));
    let mut stars = glob;
    stars[10] = b'*';
    assert!(fits(&stars, &name));
    assert!(!fits(&[b'*'; MAX_GLOB + 1], b"a"));
    assert!(!fits(b"*", &[b'a'; MAX_NAME + 1]));
    assert!(fits(b"*", &[0xff; MAX_NAME]));
}

#[test]
fn hostile_patterns_stay_within_the_bound() {
    let name = [b'a'; MAX_NAME];
    for pattern in ["*a*a*a*a*b", "*a*a*a*a*b*", "*ab*", "a*ab*"] {
        assert!(!fits(pattern.as_bytes(), &name), "{pattern}");
    }
    // One star, and a needle that fails at its last byte wherever it begins.
    for length in 1..MAX_GLOB - 1 {
        let mut pattern = vec![b'*'];
        pattern.extend(vec![b'a'; length]);
        pattern.extend(*b"b*");
        let pattern = &pattern[pattern.len().saturating_sub(MAX_GLOB)..];
        assert!(turns(pattern, &name) <= MAX_TURNS, "{length}");
    }
    let stars = "*a".repeat(MAX_GLOB / 2 - 1) + "b*";
    assert!(turns(stars.as_bytes(), &name) <= MAX_TURNS);
}

#[test]
fn what_most_names_fail_at_is_seen_at_once() {
    let name = [b'a'; MAX_NAME];
    assert_eq!(turns(b"*.pem", &name), 1);
    assert_eq!(turns(b"id_*", &name), 1);
    assert_eq!(turns(b"a*.pem", b"aaa.pem"), 6);
}

/// Patterns and names of few letters, so that they often fit.
fn word(letters: &'static str, most: usize) -> impl Strategy<Value = Vec<u8>> {
    let letters: Vec<u8> = letters.bytes().collect();
    prop::collection::vec(prop::sample::select(letters), 0..=most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn says_what_the_naive_reader_says(glob in word("ab*?", 8), name in word("ab", 12)) {
        prop_assert_eq!(fits(&glob, &name), naive(&glob, &name));
        prop_assert!(turns(&glob, &name) <= MAX_TURNS);
    }

    #[test]
    fn never_takes_more_turns_than_the_bound(
        glob in word("aaab*?", MAX_GLOB), name in word("aaaaaaab", MAX_NAME),
    ) {
        prop_assert!(turns(&glob, &name) <= MAX_TURNS);
    }

    #[test]
    fn any_bytes_fit_themselves(name in prop::collection::vec(any::<u8>(), 0..=MAX_GLOB)) {
        prop_assert!(fits(&name, &name));
    }

    #[test]
    fn stars_fit_around_everything(text in "[a-z.]{0,20}", (before, after) in (".{0,20}", ".{0,20}")) {
        let name: String = before + &text + &after;
        prop_assert!(fits((String::from("*") + &text + "*").as_bytes(), name.as_bytes()));
    }
}
