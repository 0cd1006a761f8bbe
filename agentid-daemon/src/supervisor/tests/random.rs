//! Policies of all sorts, for comparisons.

use proptest::{prelude::*, sample::select};

const NAMES: [&str; 6] = ["a", "b", "c", ".env", "ab", ".env.b"];
const GLOBS: [&str; 6] = ["*", "a*", "*b", "?b", ".env*", "*e*"];
const TARGETS: [&str; 12] = [
    "10.0.0.0/8:*",
    "10.1.0.0/16:443",
    "10.1.0.1:80-443",
    "0.0.0.0/0:443",
    "[::]/0:443",
    "[2001:db8::]/32:80",
    "127.0.0.0/8:80",
    "169.254.0.0/16:*",
    "a.example.org:443",
    "*.example.org:80-443",
    "b.a.example.org:*",
    "c.test:1-65535",
];
const OWN: [&str; 6] =
    ["127.0.0.1:8000-8100", "0.0.0.0:80", "[::]:80", "0.0.0.0/0:*", "[::]/0:80-90", "[::1]:443"];

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => select(&NAMES[..]), 2 => Just("**"), 2 => select(&GLOBS[..])];
    let begin = prop_oneof![3 => Just("/"), 2 => Just("${w}/"), 1 => Just("${v}/")];
    (begin, prop::collection::vec(part, 1..4))
        .prop_map(|(begin, parts)| begin.to_owned() + &parts.join("/"))
}

fn file() -> impl Strategy<Value = String> {
    let rights = prop::sample::subsequence(vec!["read", "write", "create", "delete"], 1..=4);
    let effect = (prop_oneof![2 => Just("allow"), 1 => Just("deny")], rights)
        .prop_map(|(verb, rights)| format!("{verb} = {rights:?}"));
    (prop::collection::vec(pattern(), 1..3), effect)
        .prop_map(|(paths, effect)| format!("[[file]]\npaths = {paths:?}\n{effect}\n"))
}

fn net() -> impl Strategy<Value = String> {
    let effect = prop_oneof![2 => Just("allow"), 1 => Just("deny")];
    let targets = prop::sample::subsequence(TARGETS.to_vec(), 1..3);
    let to = (targets, effect, select(&["'tcp'", "'udp'", "['tcp', 'udp']"][..])).prop_map(
        |(to, word, by)| format!("[[net]]\nto = {to:?}\n{word} = ['connect']\nproto = {by}\n"),
    );
    let effect = prop_oneof![2 => Just("allow"), 1 => Just("deny")];
    let own = prop::sample::subsequence(OWN.to_vec(), 1..3);
    let on = (own, effect, select(&["listen", "accept"][..])).prop_map(|(on, word, verb)| {
        format!("[[net]]\non = {on:?}\n{word} = ['{verb}']\nproto = 'tcp'\n")
    });
    prop_oneof![2 => to, 1 => on]
}

/// The rules of a policy with the parameters `w` and `v`, each as a table.
pub(super) fn rules() -> impl Strategy<Value = Vec<String>> {
    let files = prop::collection::vec(file(), 1..5);
    let nets = prop::collection::vec(net(), 0..4);
    (files, nets).prop_map(|(files, nets)| [files, nets].concat())
}

/// The text of a policy with these rules.
pub(super) fn text(rules: &[String]) -> String {
    let used = "[[file]]\npaths = ['${w}/only/here', '${v}/only/there']\nallow = ['read']\n";
    format!("name = 'p'\nttl = '1m'\nparams = ['w', 'v']\n{used}{}", rules.concat())
}

pub(super) fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&NAMES[..]), 1..5)
        .prop_map(|names| format!("/{}", names.join("/")))
}

/// A peer, or an address of the run's own, with a port.
pub(super) fn end() -> impl Strategy<Value = String> {
    let hosts = [
        "10.0.0.1",
        "10.1.0.1",
        "10.1.0.2",
        "127.0.0.1",
        "0.0.0.0",
        "8.8.8.8",
        "169.254.169.254",
        "[::]",
        "[::1]",
        "[2001:db8::1]",
        "[2001:db9::1]",
        "a.example.org",
        "b.a.example.org",
        "q.example.org",
        "example.org",
        "c.test",
    ];
    (select(hosts.to_vec()), select(vec![1, 79, 80, 81, 90, 443, 444, 8000, 8050, 65535]))
        .prop_map(|(host, port)| format!("{host}:{port}"))
}
