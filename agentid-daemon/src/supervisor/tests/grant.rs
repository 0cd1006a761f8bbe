use proptest::prelude::*;

use crate::{
    event::event::{Access, Name, Object, Process, What},
    policy::{Policy, parse},
    supervisor::{expect, grant},
};

fn denied(reason: &str, object: Object) -> What {
    let process = Process { tgid: 1, tid: 1, uid: 1000, comm: "sh".into() };
    What::Access(Access {
        sequence: 0,
        hook: "file_open".into(),
        verdict: "deny".into(),
        reason: Some(reason.into()),
        fault: None,
        rule: None,
        by: None,
        because: None,
        process,
        object: Some(object),
        execution: None,
    })
}

fn file(path: &str, want: &[&str]) -> Object {
    let want = want.iter().map(|right| (*right).to_owned()).collect();
    Object::File { path: Some(path.to_owned()), want }
}

fn peer(address: &str, port: u16, protocol: &str, verb: &str) -> Object {
    Object::Peer {
        address: Some(address.to_owned()),
        port,
        protocol: protocol.to_owned(),
        family: 2,
        verb: Some(verb.to_owned()),
    }
}

/// The grant is a policy's, and allows what the expectation says.
fn granted(object: Object, expectation: &str) -> Policy {
    let grant = grant::smallest(&denied("no_rule", object)).expect("a rule could grant it");
    let text = format!("name = 'p'\nttl = '1m'\n{grant}{expectation}");
    let policy = parse("p.toml", &text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    assert_eq!(expect::run("p.toml", &policy).expect("it compiles").broken, [], "{text}");
    policy
}

#[test]
fn the_smallest_grant_allows_what_was_denied_and_nothing_else() {
    granted(
        file("/srv/a \"b\".txt", &["read", "write"]),
        "[[expect]]\nallow = ['read', 'write']\npath = '/srv/a \"b\".txt'\n\
         [[expect]]\ndeny = ['create', 'exec']\npath = '/srv/a \"b\".txt'\n\
         [[expect]]\ndeny = 'all'\npath = ['/srv', '/srv/b']\n",
    );
    granted(
        peer("10.0.0.7", 443, "tcp", "connect"),
        "[[expect]]\nallow = ['connect']\nto = '10.0.0.7:443'\n\
         [[expect]]\ndeny = ['connect']\nto = ['10.0.0.7:444', '10.0.0.8:443']\n",
    );
    granted(
        peer("2001:db8::7", 53, "udp", "send"),
        "[[expect]]\nallow = ['send']\nproto = 'udp'\nto = '[2001:db8::7]:53'\n\
         [[expect]]\ndeny = ['connect']\nproto = 'tcp'\nto = '[2001:db8::7]:53'\n",
    );
    granted(
        peer("127.0.0.1", 8000, "tcp", "listen"),
        "[[expect]]\nallow = ['listen']\non = '127.0.0.1:8000'\n",
    );
    granted(peer("192.0.2.1", 0, "icmp", "connect"), "");
    let grant =
        grant::smallest(&denied("capability", Object::Capability { name: "net_raw".into() }));
    assert_eq!(grant.as_deref(), Some("capabilities = [\"net_raw\"]\n"));
}

#[test]
fn the_grant_for_a_name_grants_it_and_its_addresses_one_port() {
    let name = |verdict: &str, reason: &str| {
        What::Name(Name {
            name: "api.example.org".to_owned(),
            record: "A".to_owned(),
            verdict: verdict.to_owned(),
            reason: Some(reason.to_owned()),
            rule: None,
            by: None,
            because: None,
            addresses: Vec::new(),
            unrecorded: 0,
        })
    };
    let grant = grant::smallest(&name("deny", "no_rule")).expect("a rule could grant it");
    let text = format!(
        "name = 'p'\nttl = '1m'\n{grant}\
         [[expect]]\nallow = ['connect']\nto = 'api.example.org:443'\n\
         [[expect]]\ndeny = ['connect']\nto = ['api.example.org:80', 'www.example.org:443']\n",
    );
    let policy = parse("p.toml", &text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    assert_eq!(expect::run("p.toml", &policy).expect("it compiles").broken, [], "{text}");
    for (verdict, reason) in [("deny", "deny_rule"), ("deny", "crowded"), ("allow", "no_rule")] {
        assert_eq!(grant::smallest(&name(verdict, reason)), None, "{verdict} {reason}");
    }
}

#[test]
fn there_is_none_where_no_rule_would_help_or_would_mean_more() {
    assert_eq!(grant::smallest(&denied("deny_rule", file("/etc/shadow", &["read"]))), None);
    assert_eq!(grant::smallest(&denied("unknown_filesystem", file("/x", &["read"]))), None);
    for path in ["/srv/*", "/srv/a?", "/srv/[x]", "/srv/${work}", "socket:[1]", "/srv/a\u{fffd}"] {
        assert_eq!(grant::smallest(&denied("no_rule", file(path, &["read"]))), None, "{path}");
    }
    assert_eq!(grant::smallest(&denied("no_rule", peer("10.0.0.1", 1, "sctp", "connect"))), None);
    let unknown = Object::Capability { name: "63".into() };
    assert_eq!(grant::smallest(&denied("capability", unknown)), None);
}

proptest! {
    /// Whatever a run calls its files, what it is told is one rule for one file, or nothing.
    #[test]
    fn a_path_never_becomes_more_than_a_path(name in "[^/\0]{1,20}") {
        if name != "." && name != ".." {
            let path = format!("/srv/{name}");
            if let Some(grant) = grant::smallest(&denied("no_rule", file(&path, &["read"]))) {
                let text = format!("name = 'p'\nttl = '1m'\n{grant}");
                let policy = parse("p.toml", &text).expect("it is a policy");
                prop_assert_eq!(policy.file_rules().len(), 1);
                let [pattern] = policy.file_rules()[0].patterns.as_slice() else { panic!("{text}") };
                prop_assert_eq!(pattern.components.len(), 2);
            }
        }
    }
}
