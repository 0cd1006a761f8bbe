//! Abstract names of unix sockets.

use agentid_common::file::Rights;
use proptest::{prelude::*, sample::select};

use super::host::{Host, Run, parsed};

const PIECES: [&str; 8] = ["a", "b", "/", "-", "*", "?", "ab", "."];

/// A rule: names, whether it allows, and its rights.
type Rule = (Vec<String>, bool, Rights);

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&PIECES[..]), 1..5)
        .prop_map(|pieces| pieces.concat().replace("**", "*").replace("**", "*"))
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rights =
        select(vec![Rights::CONNECT, Rights::CREATE, Rights::CONNECT.union(Rights::CREATE)]);
    // A name in one folder is compared with six globs at most.
    let rule = (prop::collection::vec(text(), 1..3), prop::bool::weighted(0.7), rights);
    prop::collection::vec(rule, 1..4)
}

fn written(rules: &[Rule]) -> String {
    let words = |rights: Rights| -> Vec<&str> {
        [(Rights::CONNECT, "connect"), (Rights::CREATE, "listen")]
            .into_iter()
            .filter(|(right, _)| rights.contains(*right))
            .map(|(_, word)| word)
            .collect()
    };
    let each = rules.iter().map(|(names, allows, rights)| {
        let word = if *allows { "allow" } else { "deny" };
        let connects = *allows && rights.contains(Rights::CONNECT);
        let ends = if connects { "ends_sandbox = true\n" } else { "" };
        format!("[[unix]]\nabstract = {names:?}\n{word} = {:?}\n{ends}", words(*rights))
    });
    each.collect()
}

/// A matcher as plain as can be.
fn names(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            names(rest, name) || matches!(name, [_, after @ ..] if names(pattern, after))
        }
        ([b'?', rest @ ..], [_, after @ ..]) => names(rest, after),
        ([one, rest @ ..], [other, after @ ..]) => one == other && names(rest, after),
        _ => false,
    }
}

fn is_allowed(rules: &[Rule], name: &str, want: Rights) -> bool {
    let said = |of_allow: bool| {
        rules.iter().any(|(patterns, allows, rights)| {
            *allows == of_allow
                && rights.contains(want)
                && patterns.iter().any(|pattern| names(pattern.as_bytes(), name.as_bytes()))
        })
    };
    said(true) && !said(false)
}

proptest! {
    #[test]
    fn the_automaton_says_of_abstract_names_what_the_rules_say(
        rules in rules(),
        asked in prop::collection::vec(prop::collection::vec(select(&["a", "b", "/", "-", "ab", "."][..]), 1..5), 12),
    ) {
        let run = Run::new(Host::usual(), &parsed(&written(&rules)));
        for name in asked {
            let name = name.concat();
            for want in [Rights::CONNECT, Rights::CREATE] {
                prop_assert_eq!(
                    run.called(&name, want).is_ok(),
                    is_allowed(&rules, &name, want),
                    "{} {:?}\n{}", name, want, written(&rules)
                );
            }
        }
    }
}

#[test]
fn what_is_said_of_files_is_not_said_of_abstract_names_nor_the_reverse() {
    let rules = "[[file]]\npaths = ['/**']\nallow = ['read', 'connect']\nends_sandbox = true\n\
                 [[file]]\npaths = ['**/secret', '/secret', '**']\ndeny = ['create']\n\
                 [[unix]]\nabstract = ['secret', 'deep/er']\nallow = ['connect', 'listen']\n";
    let run = Run::new(Host::usual(), &parsed(rules));
    for (name, allowed) in
        [("secret", true), ("deep/er", true), ("deep", false), ("er", false), ("/secret", false)]
    {
        for want in [Rights::CONNECT, Rights::CREATE] {
            assert_eq!(run.called(name, want).is_ok(), allowed, "{name}");
        }
    }
    assert!(run.access("/secret", Rights::CREATE).is_err());
    assert!(run.access("/secret/er", Rights::CONNECT).is_ok());
}
