//! What an `[[expect]]` can say.

use std::path::Path;

use agentid_common::{
    file::Rights,
    net::{ICMP, TCP, UDP, Verb},
};

use super::{errors, refused};
use crate::policy::{Case, Expectation, parse};

const RULES: &str = "name = 'p'\nttl = '1m'\nparams = ['work', 'out']\n[[file]]\n\
                     paths = ['${work}/**', '${out}/**']\nallow = ['read']\n";

fn read(text: &str) -> Expectation {
    let policy = parse("p.toml", &format!("{RULES}[[expect]]\n{text}\n"));
    let policy = policy.unwrap_or_else(|errors| panic!("{errors:?}"));
    policy.expectations()[0].clone()
}

/// The one mistake.
#[track_caller]
fn wrong(text: &str, message: &str) {
    let said = errors(&format!("{RULES}[[expect]]\n{text}\n"));
    assert_eq!(said.matches("p.toml:").count(), 1, "{said}");
    assert!(said.contains(message), "{said}");
}

const WITH: &str = "with = { work = '/home/u/w', out = '/o' }\n";

#[test]
fn reads_files_with_the_folders_that_are_given() {
    let found = read(&format!(
        "{WITH}allow = ['read', 'exec']\npath = ['${{work}}/a/b', '${{out}}', '/x y']"
    ));
    let paths: Vec<&Path> = found
        .cases
        .iter()
        .map(|case| match case {
            Case::File { path, rights } if *rights == Rights::READ.union(Rights::EXEC) => path,
            other => panic!("{other:?}"),
        })
        .map(|path| path.as_path())
        .collect();
    assert_eq!(paths, ["/home/u/w/a/b", "/o", "/x y"].map(Path::new));
    assert_eq!((found.line, found.column, found.allowed), (7, 1, true));
    assert_eq!(found.params["work"], Path::new("/home/u/w"));
    let found = read(&format!("{WITH}deny = 'all'\npath = '/x'\nbecause = 'so'"));
    assert_eq!((found.allowed, found.because.as_deref()), (false, Some("so")));
    assert_eq!(found.cases[0].number(), 6);
}

/// The words stand for what they stand for in a rule.
#[test]
fn reads_peers_as_rules_do() {
    let asked = |text: &str| -> Vec<(u16, u8, Verb)> {
        let each = read(text).cases.into_iter().map(|case| match case {
            Case::Peer { port, protocol, verb, .. } | Case::Name { port, protocol, verb, .. } => {
                (port, protocol, verb)
            }
            other => panic!("{other:?}"),
        });
        each.collect()
    };
    use Verb::{Accept, Connect, Listen, Send};
    assert_eq!(asked("allow = ['connect']\nto = '10.0.0.1:443'"), [(443, TCP, Connect)]);
    let both = [(443, TCP, Connect), (443, UDP, Connect), (443, UDP, Send)];
    assert_eq!(asked("deny = ['connect']\nto = '[::1]:443'"), both);
    assert_eq!(asked("deny = 'all'\nto = 'example.org:443'"), both);
    let icmp = [(0, ICMP, Connect), (0, ICMP, Send)];
    assert_eq!(asked("allow = ['connect']\nto = '10.0.0.1:*'\nproto = 'icmp'"), icmp);
    let listen = [(80, TCP, Listen), (80, TCP, Accept)];
    assert_eq!(asked("allow = ['listen']\non = '0.0.0.0:80'"), listen);
    assert_eq!(asked("allow = ['accept']\non = ['0.0.0.0:80']"), listen[1..]);
    assert_eq!(asked("allow = ['send']\nto = '10.0.0.1:1'\nproto = 'udp'"), [(1, UDP, Send)]);
}

#[test]
fn refuses_expectations_about_nothing() {
    wrong(
        "allow = ['read']",
        "about nothing\n  help: add `path`, `to`, `on`, `capability` or `abstract`",
    );
    wrong("allow = ['read']\npath = '/x'\nto = '10.0.0.1:1'", "more than one of");
    wrong(&format!("{WITH}path = '/x'"), "neither `allow` nor `deny` is given");
    wrong(&format!("{WITH}path = '/x'\nallow = ['read']\ndeny = 'all'"), "both `allow` and `deny`");
    wrong(&format!("{WITH}path = []\nallow = ['read']"), "`path` names nothing");
    wrong(
        &format!("{WITH}path = '/x'\nallow = ['read']\nproto = 'tcp'"),
        "p.toml:11:9: `proto` is",
    );
    wrong(&format!("{WITH}paths = '/x'\npath = '/x'\nallow = ['read']"), "did you mean `path`?");
}

#[test]
fn refuses_rights_that_the_object_has_not() {
    wrong(&format!("{WITH}path = '/x'\nallow = ['listen']"), "unknown right `listen`");
    wrong(&format!("{WITH}path = '/x'\nallow = 'all'"), "name each right in a list");
    wrong("to = '10.0.0.1:1'\nallow = ['read']", "unknown right `read`");
    wrong("to = '10.0.0.1:1'\nallow = ['listen']", "write `on` in the place of `to`");
    wrong("to = '10.0.0.1:1'\nallow = ['send']", "tcp has none");
    wrong("to = '10.0.0.1:1'\nallow = ['connect']\nproto = 'icmp'", "icmp has none");
    wrong("on = 'example.org:1'\nallow = ['listen']", "a host name is a peer's");
    wrong(
        "capability = 'net_raw'\nallow = ['read']",
        "unknown right `read`\n  help: of a capability: use",
    );
    wrong("capability = 'CAP_NET_RAW'\nallow = ['use']", "did you mean `net_raw`?");
}

#[test]
fn refuses_what_is_more_than_one_case() {
    wrong(&format!("{WITH}path = '${{work}}/*'\nallow = ['read']"), "names more than one file");
    wrong(&format!("{WITH}path = '**/x'\nallow = ['read']"), "names more than one file");
    wrong("to = '10.0.0.0/8:1'\nallow = ['connect']", "a block of addresses");
    wrong("to = '*.example.org:1'\nallow = ['connect']", "all hosts below a domain");
    wrong("to = '10.0.0.1:1-2'\nallow = ['connect']", "more than one port");
    wrong("to = '10.0.0.1:*'\ndeny = 'all'", "icmp has `:*`");
    wrong("to = '10.0.0.1:1'\ndeny = ['send']\nproto = 'icmp'", "icmp has none");
}

#[test]
fn refuses_parameters_that_are_wrong() {
    let file = "path = '/x'\nallow = ['read']";
    wrong(
        file,
        "p.toml:7:1: expectation has no value for parameter `work`\n  help: with = { work = ",
    );
    let with = |with: &str, message: &str| wrong(&format!("with = {{ {with} }}\n{file}"), message);
    with("work = '/w'", "no value for parameter `out`");
    with("work = '/w', out = '/o', wrk = '/x'", "no parameter `wrk`\n  help: did you mean `work`?");
    with("work = '/', out = '/o'", "`/` is the root of everything");
    with("work = 'w', out = '/o'", "`w` is not an absolute path");
    with("work = '/w*', out = '/o'", "names more than one file");
    with("work = 1, out = '/o'", "a string is expected, not integer");
    wrong(&format!("{WITH}path = '${{wrk}}/x'\nallow = ['read']"), "did you mean `${work}`?");
    // Peers do not depend on them.
    assert!(read("to = '10.0.0.1:1'\ndeny = ['connect']").params.is_empty());
    refused("[[expect]]\nwith = { w = '/x' }\npath = '/x'\ndeny = 'all'", "no parameter `w`");
}
