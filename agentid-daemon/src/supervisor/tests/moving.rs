use std::collections::BTreeMap;

use crate::{
    control::api::{FileName, WhyReply, WhyRequest},
    policy::parse,
    supervisor::explain::explain,
};

const POLICY: &str = r#"
    name = "p"
    ttl = "30m"

    [[file]]
    paths = ["/work/**"]
    allow = ["read", "create", "delete"]

    [[file]]
    paths = ["/work/bin/**"]
    allow = ["exec"]
    because = "tools"

    [[file]]
    paths = ["/work/fixed/**"]
    deny = ["delete"]

    [[file]]
    paths = ["/work/plain/**"]
    deny = ["exec"]
"#;

fn ask_of(policy: &str, request: &WhyRequest) -> WhyReply {
    explain(&parse("p.toml", policy).unwrap(), &BTreeMap::new(), request).unwrap()
}

fn moving(from: &str, to: &str) -> WhyRequest {
    WhyRequest::Move { from: from.into(), to: to.into() }
}

fn link(from: &str, to: &str) -> WhyRequest {
    WhyRequest::Link { from: from.into(), to: to.into() }
}

fn create(path: &str) -> WhyRequest {
    WhyRequest::Create(FileName { path: path.into() })
}

fn delete(path: &str) -> WhyRequest {
    WhyRequest::Delete(FileName { path: path.into() })
}

#[test]
fn a_denial_says_at_which_end_what_is_missing_and_with_which_errno() {
    for (request, errno, explanation) in [
        (create("/x"), "EACCES", "no rule: missing grant create on /x"),
        (delete("/x"), "EACCES", "no rule: missing grant delete on /x"),
        (moving("/x", "/work/a"), "EACCES", "no rule: missing grant delete on /x"),
        (moving("/work/a", "/x"), "EACCES", "no rule: missing grant create on /x"),
        (moving("/work/fixed/a", "/work/a"), "EACCES", "rule 3 denies it"),
        (link("/work/a", "/x"), "EACCES", "no rule: missing grant create on /x"),
        (
            link("/work/plain/a", "/work/bin/a"),
            "EXDEV",
            "it fails with EXDEV, as between filesystems: /work/plain/a would gain exec there",
        ),
        (
            moving("/work/a", "/work/bin/a"),
            "EXDEV",
            "it fails with EXDEV, as between filesystems: /work/a would gain exec there",
        ),
    ] {
        let reply = ask_of(POLICY, &request);
        assert_eq!(reply.verdict, "deny", "{request:?}");
        assert_eq!(reply.errno.as_deref(), Some(errno), "{request:?}");
        assert_eq!(reply.explanation, explanation, "{request:?}");
    }
}

#[test]
fn a_right_that_would_be_gained_is_that_of_a_rule_of_the_new_name() {
    let reply = ask_of(POLICY, &moving("/work/a", "/work/bin/a"));
    assert_eq!(reply.reason.as_deref(), Some("rights_gained"));
    assert_eq!(reply.rule_text.as_deref(), Some("allow exec on /work/bin/**"));
}

#[test]
fn what_is_allowed_says_no_errno_and_no_grant() {
    for request in [
        create("/work/a"),
        delete("/work/bin/a"),
        moving("/work/a", "/work/b"),
        // It loses a right, and gains none.
        moving("/work/bin/a", "/work/b"),
        // The old name stays, and need not be taken away.
        link("/work/fixed/a", "/work/b"),
    ] {
        let reply = ask_of(POLICY, &request);
        assert_eq!(reply.verdict, "allow", "{request:?}");
        assert_eq!((reply.errno, reply.grant), (None, None), "{request:?}");
    }
}

/// P8: who adds what is told, and asks again, comes to be allowed it: each grant is for the first thing that is missing.
#[test]
fn the_told_grants_lead_to_what_is_asked() {
    for (request, steps) in [
        (create("/x"), 1),
        (delete("/x"), 1),
        (moving("/work/a", "/x"), 1),
        // To be taken away, and then to be read where it was, as it may be where it goes.
        (moving("/x", "/work/a"), 2),
        (moving("/work/a", "/work/bin/a"), 1),
        (link("/x", "/work/a"), 1),
        (WhyRequest::Open { path: "/x".into(), want: vec!["read".into(), "write".into()] }, 1),
        (WhyRequest::Capability("net_raw".into()), 1),
    ] {
        let mut policy = POLICY.to_owned();
        for _ in 0..steps {
            let reply = ask_of(&policy, &request);
            assert_eq!(reply.verdict, "deny", "{request:?}");
            let grant = reply.grant.expect("a rule could grant it");
            policy = if grant.starts_with("[[") {
                format!("{policy}\n{grant}")
            } else {
                policy.replacen("ttl", &format!("{grant}ttl"), 1)
            };
        }
        let reply = ask_of(&policy, &request);
        assert_eq!(reply.verdict, "allow", "{request:?}: {}", reply.explanation);
    }
    for request in [
        moving("/work/fixed/a", "/work/a"),
        // At its old name a rule denies what it would gain.
        moving("/work/plain/a", "/work/bin/a"),
    ] {
        let reply = ask_of(POLICY, &request);
        assert_eq!((reply.verdict.as_str(), reply.grant), ("deny", None), "{request:?}");
    }
}
