//! What a policy expects of itself.

use std::{fs, path::Path};

use super::super::{
    expect::{self, Outcome},
    folder::{self, FolderError},
};
use crate::policy;

const SHIPPED: &str = include_str!("../../../dist/policies/coding-agent.toml");

const RULES: &str = r#"
name = "p"
ttl = "30m"
params = ["workspace"]
capabilities = ["syslog"]

[[file]]
paths = ["${workspace}/**"]
allow = ["read", "write"]

[[file]]
paths = ["**/.env*"]
deny = "all"
because = "secrets are not part of it"

[[net]]
to = ["10.1.0.0/16:5432", "db.example.org:5432"]
allow = ["connect"]

[[net]]
to = ["192.0.2.53:514"]
proto = ["udp"]
allow = ["send"]

[[net]]
on = ["127.0.0.1:8000"]
allow = ["listen"]
"#;

fn outcome(expectations: &str) -> Outcome {
    let text = format!("{RULES}{expectations}");
    let policy = policy::parse("p.toml", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
    expect::run("p.toml", &policy).unwrap()
}

/// All that is wrong, as it is printed.
fn broken(expectations: &str) -> String {
    outcome(expectations).broken.iter().map(|broken| format!("{broken}\n")).collect()
}

const WITH: &str = "with = { workspace = '/home/u/work' }";

#[test]
fn what_is_as_expected_is_counted() {
    let held = outcome(&format!(
        "[[expect]]\n{WITH}\nallow = ['read', 'write']\npath = ['${{workspace}}/a', '/home/u/work']\n\
         [[expect]]\n{WITH}\ndeny = 'all'\npath = '/home/u/other'\n\
         [[expect]]\nallow = ['connect']\nto = ['10.1.2.3:5432', '[::ffff:10.1.2.3]:5432', 'DB.example.org:5432']\n\
         [[expect]]\nallow = ['send']\nto = '192.0.2.53:514'\nproto = 'udp'\n\
         [[expect]]\ndeny = ['connect']\nto = '192.0.2.53:514'\nproto = 'tcp'\n\
         [[expect]]\nallow = ['listen']\non = '127.0.0.1:8000'\n\
         [[expect]]\nallow = ['use']\ncapability = ['syslog', 'chown']\n\
         [[expect]]\ndeny = ['use']\ncapability = 'net_raw'\n\
         [[expect]]\ndeny = 'all'\nto = '10.9.0.1:*'\nproto = 'icmp'\n"
    ));
    assert_eq!(held.broken, []);
    assert_eq!(
        (held.expectations, held.held(), held.cases),
        (9, 9, 4 + 6 + 3 + 1 + 1 + 2 + 2 + 1 + 2)
    );
}

#[test]
fn what_is_not_as_expected_is_told_with_the_rule_behind_it() {
    let more = format!(
        "[[expect]]\n{WITH}\nallow = ['read', 'write', 'exec']\npath = '${{workspace}}/.env.example'\n\
         because = 'the template is public'\n"
    );
    let expected = "\
p.toml:28:1: read, write, exec /home/u/work/.env.example is expected to be allowed, because the template is public
  deny: rule 2 denies it
  rule 2: deny read, write, create, delete, exec, connect on **/.env*
  because: secrets are not part of it
";
    assert_eq!(broken(&more), expected);
    let more = format!(
        "[[expect]]\n{WITH}\nallow = ['write', 'exec', 'delete']\npath = '${{workspace}}/a'\n"
    );
    let expected = "\
p.toml:28:1: delete, exec /home/u/work/a is expected to be allowed
  deny: no rule: missing grant delete, exec on /home/u/work/a
";
    assert_eq!(broken(&more), expected);
}

/// Each right that is to be denied is denied by itself: what grants one of two is seen.
#[test]
fn a_denial_of_several_rights_is_one_of_each() {
    let more = format!("[[expect]]\n{WITH}\ndeny = ['write', 'exec']\npath = '${{workspace}}/a'\n");
    let expected = "\
p.toml:28:1: write /home/u/work/a is expected to be denied
  allow: rule 1 allows it
  rule 1: allow read, write on ${workspace}/**
";
    assert_eq!(broken(&more), expected);
}

#[test]
fn peers_and_capabilities_are_told_as_why_tells_them() {
    let more = "[[expect]]\ndeny = ['connect']\nto = ['10.1.0.1:5432', 'db.example.org:5432']\n\
                [[expect]]\nallow = ['connect']\nto = '192.0.2.53:514'\nproto = 'udp'\n\
                [[expect]]\nallow = ['use']\ncapability = 'net_raw'\n";
    let expected = "\
p.toml:28:1: connect to 10.1.0.1:5432 is expected to be denied
  allow: rule 1 allows it
  rule 1: allow connect to 10.1.0.0/16:5432, db.example.org:5432
p.toml:28:1: connect to db.example.org:5432 is expected to be denied
  allow: rule 1 allows it, once the run has asked for the name
  rule 1: allow connect to 10.1.0.0/16:5432, db.example.org:5432
";
    let said = broken(more);
    assert!(said.starts_with(expected), "{said}");
    assert!(
        said.contains("p.toml:35:1: use capability net_raw is expected to be allowed\n  deny: "),
        "{said}"
    );
    assert_eq!(outcome(more).held(), 0);
}

/// As `why` says it: with a name in the policy the daemon answers what goes to port 53.
#[test]
fn questions_for_names_go_to_the_daemon() {
    let more = "[[expect]]\nallow = ['connect']\nto = '192.0.2.1:53'\nproto = ['tcp', 'udp']\n";
    assert_eq!(broken(more), "");
}

#[test]
fn a_denial_is_expected_of_the_rules_also_where_they_are_only_recorded() {
    let text = format!("mode = 'audit'\n{RULES}[[expect]]\n{WITH}\ndeny = 'all'\npath = '/x'\n");
    let policy = policy::parse("p.toml", &text).unwrap();
    assert_eq!(expect::run("p.toml", &policy).unwrap().broken, []);
}

#[test]
fn what_breaks_its_own_expectations_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("shipped.toml", SHIPPED);
    assert_eq!(folder::load(folder.path()).unwrap().len(), 1);
    write("p.toml", &format!("{RULES}[[expect]]\n{WITH}\nallow = ['exec']\npath = '/x'\n"));
    let errors = folder::load(folder.path()).unwrap_err();
    let [FolderError::Broken(broken)] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(broken.to_string().contains("p.toml:28:1: exec /x is expected to be allowed"));
}

#[test]
fn what_cannot_be_compiled_is_an_error_and_not_an_expectation_that_holds() {
    let globs: Vec<String> = (0..7).map(|number| format!("/*{number}x")).collect();
    let text = format!(
        "name = 'p'\nttl = '1m'\n[[file]]\npaths = {globs:?}\nallow = ['read']\n\
         [[expect]]\ndeny = ['read']\npath = '/y'\n"
    );
    let policy = policy::parse("p.toml", &text).unwrap();
    let error = folder::try_expectations(Path::new("p.toml"), &policy).unwrap_err();
    assert!(matches!(error, FolderError::Expect { .. }), "{error:?}");
}

/// Whoever widens or narrows a shipped policy by a slip is told so.
#[test]
fn the_shipped_policies_say_when_a_rule_of_them_is_gone() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/policies");
    let shipped = folder::load(&dist).unwrap();
    let names: Vec<&str> = shipped.iter().map(|(policy, _)| policy.name()).collect();
    assert_eq!(names, ["ci-step", "coding-agent", "data-query", "research"]);
    for name in names {
        let file = format!("{name}.toml");
        let text = fs::read_to_string(dist.join(&file)).unwrap();
        let policy = policy::parse(&file, &text).unwrap();
        let outcome = expect::run(&file, &policy).unwrap();
        assert!(outcome.broken.is_empty() && outcome.expectations > 10, "{:?}", outcome.broken);
        let tables: Vec<&str> = text.split("\n[[").collect();
        let is_rule = |table: &str| table.starts_with("file]]") || table.starts_with("net]]");
        for gone in (1..tables.len()).filter(|&gone| is_rule(tables[gone])) {
            let left = tables.iter().enumerate().filter(|(number, _)| *number != gone);
            let left: Vec<&str> = left.map(|(_, table)| *table).collect();
            // Refused as well: a parameter that no rule uses.
            let Ok(policy) = policy::parse("p.toml", &left.join("\n[[")) else { continue };
            let outcome = expect::run("p.toml", &policy).unwrap();
            assert!(!outcome.broken.is_empty(), "{file} without {}", tables[gone]);
        }
    }
}
