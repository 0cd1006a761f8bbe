//! The compiled rules against a reader of pattern strings.

use std::path::{Path, PathBuf};

use agentid_common::{
    file::Rights,
    verdict::{Answer, Reason, Refusal},
};
use proptest::{prelude::*, sample::select};

use super::host::{Host, Run, parsed};
use crate::policy::{Component, Effect, Pattern, Policy, Root};

/// Whether the names fit the pattern, step by step.
fn fits(pattern: &[Component], names: &[&str]) -> bool {
    match (pattern, names) {
        ([], []) => true,
        ([Component::Any, rest @ ..], []) => fits(rest, names),
        ([Component::Any, rest @ ..], [_, after @ ..]) => fits(rest, names) || fits(pattern, after),
        ([Component::Name(name), rest @ ..], [first, after @ ..]) => {
            name == first && fits(rest, after)
        }
        ([Component::Glob(glob), rest @ ..], [first, after @ ..]) => {
            fits_name(glob.as_bytes(), first.as_bytes()) && fits(rest, after)
        }
        ([], [_, ..]) | ([Component::Name(_) | Component::Glob(_), ..], []) => false,
    }
}

/// Whether a name fits a glob, sign by sign.
fn fits_name(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([b'*', rest @ ..], _) => {
            fits_name(rest, name) || !name.is_empty() && fits_name(glob, &name[1..])
        }
        ([sign, rest @ ..], [first, after @ ..]) => {
            (*sign == b'?' || sign == first) && fits_name(rest, after)
        }
        (rest, left) => rest.is_empty() && left.is_empty(),
    }
}

fn names(path: &Path) -> Vec<&str> {
    path.iter().skip(1).map(|name| name.to_str().unwrap()).collect()
}

/// Whether a pattern names the file at a path, under that path or under another at which a mount shows it.
fn covers(host: &Host, pattern: &Pattern, folder: Option<&str>, path: &str) -> bool {
    let (literal, base) = match (pattern.root, folder) {
        (Root::Filesystem, _) => (pattern.prefix(), PathBuf::from("/")),
        // The rules of a parameter begin at its folder.
        (Root::Parameter(_), Some(folder)) => (folder.into(), folder.into()),
        (Root::Parameter(_), None) | (Root::Abstract, _) => return false,
    };
    host.aliases(path).into_iter().any(|(mount, alias)| {
        let shown =
            mount == host.point_of(&literal) || mount.starts_with(&literal) && mount != literal;
        let below = alias.strip_prefix(&base).ok().map(|rest| Path::new("/").join(rest));
        shown && below.is_some_and(|rest| fits(&pattern.components, &names(&rest)))
    })
}

fn expected(run: &Run, policy: &Policy, folder: Option<&str>, path: &str, want: Rights) -> Answer {
    let (mut allowed, mut denied) = (Rights::NONE, Rights::NONE);
    for rule in policy.file_rules() {
        if rule.patterns.iter().any(|pattern| covers(&run.host, pattern, folder, path)) {
            match rule.effect {
                Effect::Allow(rights) => allowed = allowed.union(rights),
                Effect::Deny(rights) => denied = denied.union(rights),
            }
        }
    }
    if !denied.intersection(want).is_empty() {
        Err(Refusal::denied(Reason::DenyRule))
    } else if allowed.contains(want) {
        Ok(0)
    } else {
        Err(Refusal::denied(Reason::NoRule))
    }
}

/// An answer without the number of its rule.
pub(super) fn plain(answer: Answer) -> Answer {
    match answer {
        Ok(_) => Ok(0),
        Err(Refusal::Denied { reason, .. }) => Err(Refusal::denied(reason)),
        Err(other @ (Refusal::Unsupported(_) | Refusal::Fault(_))) => Err(other),
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", ".env", "ab", ".env.b"];
/// As many as one state can have, and the one that needs no comparison.
const GLOBS: [&str; 7] = ["*", "a*", "*b", "?", "?b", ".env*", "*e*"];

pub(super) fn path(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(select(&NAMES[..]), 1..=most)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => select(&NAMES[..]), 2 => Just("**"), 2 => select(&GLOBS[..])];
    let begin = prop_oneof![3 => Just("/"), 1 => Just("${w}/")];
    (begin, prop::collection::vec(part, 1..5))
        .prop_map(|(begin, parts)| begin.to_owned() + &parts.join("/"))
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let rights = prop::sample::subsequence(vec!["read", "write", "exec"], 1..=3);
    let effect = (prop_oneof![2 => Just("allow"), 1 => Just("deny")], rights)
        .prop_map(|(verb, rights)| format!("{verb} = {rights:?}"));
    let rule = (prop::collection::vec(pattern(), 1..4), effect)
        .prop_map(|(paths, effect)| format!("[[file]]\npaths = {paths:?}\n{effect}\n"));
    prop::collection::vec(rule, 1..6).prop_map(|rules| {
        let used = "[[file]]\npaths = ['${w}/only/here']\nallow = ['read']\n";
        parsed(&format!("params = ['w']\n{}{used}", rules.concat()))
    })
}

pub(super) fn host() -> impl Strategy<Value = Host> {
    let mount = (path(3), prop_oneof![Just("/".to_owned()), path(2)], 1..4_u64);
    let mounts = prop::collection::btree_map(path(3), mount, 0..4);
    (mounts, prop::collection::vec(path(4), 1..6)).prop_map(|(mounts, folders)| {
        let host = mounts.into_iter().fold(Host::new(), |host, (point, (_, root, device))| {
            host.mount(&point, &root, device)
        });
        folders.iter().fold(host, |host, folder| host.folders(&[folder]))
    })
}

proptest! {
    #[test]
    fn states_say_what_the_patterns_say(
        host in host(),
        policy in policy(),
        folder in path(2),
        asked in prop::collection::vec((path(6), select(&[1, 2, 3, 16, 17, 19][..])), 30),
    ) {
        let mut run = Run::new(host.folders(&[&folder]), &policy);
        // Where the rules of the parameter contradict each other, binding is refused.
        let bound = run.try_bind(&[("w", &folder)]).is_ok();
        if bound {
            run.bind(&[("w", &folder)]);
        }
        let folder = bound.then_some(folder.as_str());
        for (path, bits) in asked {
            let want = Rights(bits);
            let found = plain(run.access(&path, want));
            let expected = expected(&run, &policy, folder, &path, want);
            prop_assert_eq!(found, expected, "{} {:?}\n{}", path, want, run.image);
        }
    }
}
