//! Transcripts of `agentid policy`.

use super::{parse, verb};
use crate::cli::args::{PolicyVerb, Verb, Which};
use crate::{
    policy,
    supervisor::{diff, expect, explain},
};

const REFERENCE: &str = include_str!("../../../POLICY.md");

/// The transcript of each verb over a policy's own expectations.
#[test]
fn a_policy_is_tried_against_what_it_expects_of_itself() {
    let text = "name = 'p'\nttl = '1m'\n[[file]]\npaths = ['/srv/**']\nallow = ['read']\n";
    let tested = |more: &str| {
        let policy = policy::parse("p.toml", &format!("{text}{more}")).unwrap();
        let outcome = expect::run("p.toml", &policy).unwrap();
        verb::policy::tested("p.toml".as_ref(), &policy, &outcome)
    };
    let expected = "p.toml: policy p expects nothing: it has no [[expect]]\n";
    assert_eq!(tested(""), expected);
    let more = "[[expect]]\nallow = ['read']\npath = ['/srv/a', '/srv/b']\n\
                [[expect]]\ndeny = 'all'\npath = '/etc/shadow'\n";
    assert_eq!(tested(more), "p.toml: policy p, 2 of 2 expectations hold, in 8 cases\n");
    let more = "[[expect]]\nallow = ['read']\npath = '/srv/a'\n\
                [[expect]]\ndeny = ['read', 'write']\npath = ['/srv/a', \"/srv/\\u001b2J\"]\nbecause = 'it is a secret'\n";
    let expected = "\
p.toml:9:1: read /srv/a is expected to be denied, because it is a secret
  allow: rule 1 allows it
  rule 1: allow read on /srv/**
p.toml:9:1: read /srv/\\u{1b}2J is expected to be denied, because it is a secret
  allow: rule 1 allows it
  rule 1: allow read on /srv/**
p.toml: policy p, 1 of 2 expectations hold, 2 of 5 cases are not as expected
";
    assert_eq!(tested(more), expected);
}

/// The example of the reference that has sessions.
fn example() -> &'static str {
    let mut blocks = REFERENCE.split("```toml\n").filter_map(|block| block.split("```").next());
    blocks.find(|block| block.starts_with("name = \"tested\"")).unwrap()
}

/// The session in the reference is the one that its example gives.
#[test]
fn what_an_example_expects_is_what_its_session_shows() {
    let policy = policy::parse("tested.toml", example()).unwrap();
    let outcome = expect::run("tested.toml", &policy).unwrap();
    let text = verb::policy::tested("tested.toml".as_ref(), &policy, &outcome);
    let session = format!("```console\n$ agentid policy test tested.toml\n{text}```\n");
    assert!(REFERENCE.contains(&session), "{session}");
}

/// The same of what a change of it changes.
#[test]
fn what_changes_is_a_table_with_examples() {
    let before = example();
    let after = before
        .replace("\"**/.env*\"", "\"**/.env\", \"**/.env.local\"")
        .replace("10.1.0.0/16", "10.1.2.0/24")
        .replace("\"30m\"", "\"1h\"")
        .replacen(
            "[[net]]",
            "[[file]]\npaths = [\"${workspace}/build/**\"]\nallow = [\"exec\"]\n\n[[net]]",
            1,
        );
    let parsed = |text: &str| policy::parse("p.toml", text).unwrap();
    let found = diff::diff(&parsed(before), &parsed(&after)).unwrap();
    let session = format!(
        "```console\n$ agentid policy diff tested.toml next.toml\n{}```\n",
        verb::policy_diff::text(&found)
    );
    assert!(REFERENCE.contains(&session), "{session}");
    let none = diff::diff(&parsed(before), &parsed(before)).unwrap();
    assert_eq!(verb::policy_diff::text(&none), "nothing changes\n");
}

#[test]
fn policies_are_worked_on_by_their_files() {
    for line in ["check a.toml", "test a.toml --json", "diff a.toml b.toml --exit-code --json"] {
        assert!(parse(&format!("agentid policy {line}")).is_ok(), "{line}");
    }
    for line in ["test", "diff a.toml", "check a.toml b.toml"] {
        assert!(parse(&format!("agentid policy {line}")).is_err(), "{line}");
    }
}

/// The fields that programs read.
#[test]
fn results_for_programs_have_their_fields() {
    let text = "name = 'p'\nttl = '1m'\n[[file]]\npaths = ['/srv/**']\nallow = ['read']\n\
                [[expect]]\nallow = ['write']\npath = '/srv/a'\n";
    let policy = policy::parse("p.toml", text).unwrap();
    let outcome = expect::run("p.toml", &policy).unwrap();
    let report = verb::policy::Report::of("p.toml".as_ref(), &policy, &outcome);
    let found = serde_json::json!({
        "verdict": "deny", "reason": "no_rule", "fault": null, "rule": null, "by": null, "rule_text": null,
        "because": null,
        "explanation": "no rule: missing grant write on /srv/a", "errno": "EACCES",
        "grant": "[[file]]\npaths = [\"/srv/a\"]\nallow = [\"write\"]\n", "names": []
    });
    let broken = serde_json::json!({
        "file": "p.toml", "line": 6, "column": 1, "case": "write /srv/a", "expected": "allow", "because": null,
        "found": found
    });
    let expected = serde_json::json!({
        "file": "p.toml", "policy": "p", "mistakes": [], "expectations": 1, "held": 0, "cases": 1, "broken": [broken]
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    let after = policy::parse("p.toml", &text.replace("'read'", "'read', 'exec'")).unwrap();
    let found = diff::diff(&policy, &after).unwrap();
    let row = serde_json::json!({ "rights": ["exec"], "within": "/srv/**", "example": "/srv/x" });
    let expected = serde_json::json!({ "allowed": [row], "denied": [], "settings": [] });
    assert_eq!(serde_json::to_value(&found).unwrap(), expected);
}

/// The session in the reference is what is explained of its example.
#[test]
fn what_is_explained_is_what_the_session_shows() {
    let policy = policy::parse("tested.toml", example()).unwrap();
    let mut session = String::new();
    for question in [
        "--open /home/u/work/.env --write --param workspace=/home/u/work",
        "--connect 10.1.0.7:5432",
    ] {
        let line = format!("agentid policy explain tested.toml {question}");
        let Verb::Policy { verb: PolicyVerb::Explain(explain) } = parse(&line).unwrap() else {
            panic!("not explain")
        };
        assert_eq!(explain.policy, Which::File("tested.toml".into()));
        let params = explain.params.into_iter().map(|(name, path)| (name, path.into())).collect();
        let request = verb::why::request(explain.object).unwrap();
        let reply = explain::explain(&policy, &params, &request).unwrap();
        session += &format!("$ {line}\n{}", verb::why::text(&reply));
    }
    assert!(REFERENCE.contains(&format!("```console\n{session}```\n")), "{session}");
}

#[test]
fn a_policy_is_named_or_is_a_file() {
    let which = |text: &str| text.parse::<Which>().unwrap();
    for name in ["review", "review@7435a611"] {
        assert_eq!(which(name), Which::InForce(name.to_owned()));
    }
    for file in ["review.toml", "./review", "/etc/agentid/policies.d/review"] {
        assert_eq!(which(file), Which::File(file.into()));
    }
    assert!(parse("agentid policy explain p --open /etc/passwd --connect 10.0.0.1:1").is_err());
    assert!(parse("agentid policy explain p --self").is_err());
    assert!(parse("agentid policy show p --text --json").is_err());
}
