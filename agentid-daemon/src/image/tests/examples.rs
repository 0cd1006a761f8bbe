//! The reference of the policy language: every example in it holds.

use std::net::{IpAddr, SocketAddr};

use agentid_common::{
    capability,
    file::Rights,
    net::{Address, ICMP, Peer, Verb},
    verdict::{Answer, Reason, Refusal, TRIPWIRE},
};

use super::host::{Host, Run};
use crate::policy::{PROTOCOLS, parse};

const REFERENCE: &str = include_str!("../../../POLICY.md");

/// A policy, and what the lines below it expect.
struct Example {
    policy: String,
    lines: Vec<String>,
}

/// Each block of TOML with the block of text that follows.
fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut lines = REFERENCE.lines();
    while let Some(fence) = lines.next() {
        let Some(kind) = fence.strip_prefix("```") else { continue };
        let block: Vec<String> =
            lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
        match kind {
            "toml" => examples.push(Example { policy: block.join("\n"), lines: Vec::new() }),
            "text" => examples.last_mut().unwrap().lines.extend(block),
            // The tests of the command line have these.
            "console" => {}
            other => panic!("a block of {other:?} is no example"),
        }
    }
    examples
}

fn expected(words: &[&str]) -> (usize, Answer) {
    match words {
        [.., "allowed"] => (1, Ok(0)),
        [.., "denied", "by", rule] => {
            let rule = rule.parse().unwrap();
            (3, Err(Refusal::by_rule(rule)))
        }
        [.., "trips", "on", rule] => {
            let rule: u16 = rule.parse().unwrap();
            (3, Err(Refusal::by_rule(TRIPWIRE | rule)))
        }
        [.., "denied"] => (1, Err(Refusal::denied(Reason::NoRule))),
        _ => panic!("{words:?} expects nothing"),
    }
}

/// A host name in lower case and a port, if that is what stands there; ICMP has none.
fn named(peer: &str) -> Option<(String, u16)> {
    let (name, port) = peer.split_once(':').unwrap_or((peer, "0"));
    let is_name = peer.parse::<IpAddr>().is_err() && name.ends_with(char::is_alphabetic);
    Some((name.to_ascii_lowercase(), port.parse().ok().filter(|_| is_name)?))
}

fn ask(run: &Run, question: &[&str]) -> Answer {
    match question {
        [verb, protocol, peer] if PROTOCOLS.iter().any(|(name, _)| name == protocol) => {
            let verb = Verb::ALL.into_iter().find(|known| known.name() == *verb).unwrap();
            let (_, protocol) = PROTOCOLS.iter().find(|(name, _)| name == protocol).unwrap();
            // ICMP has no ports, and is asked for with 0.
            if let Some((name, port)) = named(peer) {
                let peer = Peer { address: Address::ANY_V6, port, protocol: *protocol, verb };
                return run.uses_name(&name, &peer);
            }
            let end: SocketAddr = match *protocol {
                ICMP => (peer.parse::<IpAddr>().unwrap(), 0).into(),
                _ => peer.parse().unwrap(),
            };
            let address = match end.ip() {
                IpAddr::V4(address) => Address::v4(address.octets()),
                IpAddr::V6(address) => Address::v6(address.octets()),
            };
            run.uses(&Peer { address, port: end.port(), protocol: *protocol, verb })
        }
        [right, name] if name.starts_with('@') => {
            let want = if *right == "listen" { Rights::CREATE } else { Rights::CONNECT };
            run.called(&name[1..], want)
        }
        ["capability", name] => {
            let answer = run.may_have(capability::number(name).unwrap());
            answer.map_err(|_| Refusal::denied(Reason::NoRule))
        }
        [rights @ .., path] => {
            let right = |word: &&str| Rights::NAMES.iter().find(|(_, name)| name == word);
            let rights = rights.iter().map(|word| right(word).unwrap().0);
            run.access(path, rights.fold(Rights::NONE, Rights::union))
        }
        [] => panic!("nothing is asked"),
    }
}

#[test]
fn every_example_of_the_reference_holds() {
    let examples = examples();
    assert!(examples.len() >= 4);
    for Example { policy, lines } in examples {
        let parsed = parse("POLICY.md", &policy).unwrap_or_else(|errors| panic!("{errors:?}"));
        let mut run = Run::new(Host::usual(), &parsed);
        let (with, lines): (Vec<_>, Vec<_>) =
            lines.iter().partition(|line| line.starts_with("with "));
        let params: Vec<(&str, &str)> =
            with.iter().map(|line| line[5..].split_once(" = ").unwrap()).collect();
        run.bind(&params);
        assert!(lines.len() > 3, "{policy}");
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (taken, expected) = expected(&words);
            let answer = ask(&run, &words[..words.len() - taken]).map(|_| 0);
            assert_eq!(answer, expected, "{line}\n{policy}");
        }
    }
}

#[test]
fn the_reference_has_the_bounds_of_the_code() {
    use agentid_common::file::{HEADS, MAX_DEPTH, MAX_GLOB, MAX_GLOBS, MAX_NAME};
    let text: Vec<&str> = REFERENCE.split_whitespace().collect();
    let text = text.join(" ");
    for bound in [
        format!("at most {MAX_NAME} bytes, or {MAX_GLOB} with"),
        format!("a pattern at most {MAX_DEPTH} names"),
        format!("at most {MAX_GLOBS} different names"),
        format!("at most {} names of folders", HEADS - 1),
        format!("more than {} states", super::super::automaton::MAX_STATES),
    ] {
        assert!(text.contains(&bound), "{bound}");
    }
}

#[test]
fn the_reference_has_every_right_and_key() {
    let verbs = Verb::ALL.into_iter().map(Verb::name);
    let protocols = PROTOCOLS.iter().map(|(name, _)| *name);
    let rights = Rights::NAMES.iter().map(|(_, name)| *name).chain(verbs).chain(protocols);
    let keys = ["name", "ttl", "max_ttl", "description", "params", "mode", "on_end", "[[file]]"];
    let more = ["[[net]]", "paths", "allow", "deny", "because", "to", "on", "proto", "resolves_to"];
    let more = more.into_iter().chain(["[[expect]]", "with", "path", "capability", "use"]);
    let more = more.chain(["[[unix]]", "abstract", "tripwire", "ends_sandbox"]);
    for word in rights.chain(keys).chain(more) {
        assert!(
            REFERENCE.contains(&format!("`{word}`"))
                || REFERENCE.contains(&format!("[\"{word}\"]")),
            "{word}"
        );
    }
}
