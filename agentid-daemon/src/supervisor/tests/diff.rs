//! What a change of a policy changes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::random;
use crate::{
    policy::{self, Policy},
    supervisor::{
        diff::{Diff, diff},
        expect,
    },
};

fn parsed(text: &str) -> Policy {
    policy::parse("p.toml", text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn of(before: &str, after: &str) -> Diff {
    let head = "name = 'p'\nttl = '1m'\n";
    diff(&parsed(&format!("{head}{before}")), &parsed(&format!("{head}{after}"))).unwrap()
}

/// The cases of all expectations that do not hold.
fn broken(rules: &[String], expectations: &str) -> Vec<String> {
    let text = random::text(rules) + expectations;
    let outcome = expect::run("p.toml", &parsed(&text)).unwrap();
    outcome.broken.into_iter().map(|broken| broken.case).collect()
}

const FILES: [&str; 6] = ["read", "write", "create", "delete", "exec", "connect"];

/// Each question by itself: the right, and the text of an expectation without its effect.
fn questions(w: &str, v: &str, path: &str, end: &str) -> Vec<(&'static str, String)> {
    let with = format!("with = {{ w = '{w}', v = '{v}' }}\npath = '{path}'\n");
    let files = FILES.into_iter().map(|right| (right, with.clone()));
    let to = ["'tcp'", "'udp'"].map(|by| ("connect", format!("to = '{end}'\nproto = {by}\n")));
    let mut all: Vec<_> = files.chain(to).collect();
    if end.starts_with(|sign: char| sign.is_ascii_digit() || sign == '[') {
        for right in ["listen", "accept"] {
            all.push((right, format!("on = '{end}'\nproto = 'tcp'\n")));
        }
    }
    all
}

fn is_allowed(rules: &[String], right: &str, question: &str) -> bool {
    broken(rules, &format!("[[expect]]\nallow = ['{right}']\n{question}")).is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// What the decision says is what is expected of it, and nothing else is.
    #[test]
    fn an_expectation_holds_or_its_contrary_does(
        rules in random::rules(),
        (w, v) in (random::path(), random::path()),
        asked in prop::collection::vec((random::path(), random::end()), 4),
    ) {
        for (path, end) in asked {
            for (right, question) in questions(&w, &v, &path, &end) {
                let expect = |word| broken(&rules, &format!("[[expect]]\n{word} = ['{right}']\n{question}"));
                let (allow, deny) = (expect("allow"), expect("deny"));
                // `connect` by udp is sending as well, and `listen` accepting.
                prop_assert!(allow.is_empty() != deny.is_empty() || question.contains("udp") || right == "listen", "{} {}", right, question);
                prop_assert!(!(allow.is_empty() && deny.is_empty()), "{} {}", right, question);
            }
        }
    }

    #[test]
    fn a_policy_differs_in_nothing_from_itself(rules in random::rules()) {
        let policy = parsed(&random::text(&rules));
        prop_assert_eq!(diff(&policy, &policy).unwrap(), Diff::default());
    }

    /// Whatever differs anywhere is told: with the right, and in its direction.
    #[test]
    fn what_differs_is_told(
        before in random::rules(),
        more in random::rules(),
        gone in any::<prop::sample::Index>(),
        kept in any::<bool>(),
        (w, v) in (random::path(), random::path()),
        asked in prop::collection::vec((random::path(), random::end()), 6),
    ) {
        let mut after = before.clone();
        after.remove(gone.index(after.len()));
        if kept {
            after.push(more[0].clone());
            // Tables of a kind are numbered in their order, and all of the files come first.
            after.sort();
        }
        let found = diff(&parsed(&random::text(&before)), &parsed(&random::text(&after))).unwrap();
        for (path, end) in asked.iter().chain([&(w.clone(), "0.0.0.0:80".to_owned())]) {
            for (right, question) in questions(&w, &v, path, end) {
                let answers = [&before, &after].map(|rules| is_allowed(rules, right, &question));
                let rows = match answers {
                    [true, false] => &found.denied,
                    [false, true] => &found.allowed,
                    _ => continue,
                };
                let covered = match right {
                    "connect" => vec!["send".to_owned()],
                    "listen" => vec!["accept".to_owned()],
                    _ => Vec::new(),
                };
                let told = rows.iter().any(|row| {
                    let about_file = row.within.contains('/') && !row.within.starts_with(['t', 'u']);
                    about_file == question.contains("path") && row.rights.iter().any(|it| it == right)
                        || covered.iter().any(|it| row.rights.contains(it))
                });
                let names = found.settings.iter().any(|setting| setting.name == "port 53");
                prop_assert!(told || names && end.ends_with(":53"), "{} {}\n{:?}", right, question, found);
            }
        }
    }
}

#[test]
fn rights_are_told_with_the_pattern_and_an_example() {
    let before = "params = ['w']\n[[file]]\npaths = ['${w}/**']\nallow = ['read']\n";
    let after = format!(
        "{before}[[file]]\npaths = ['${{w}}/build/**', '${{w}}/*.log']\nallow = ['write', 'create']\n\
         [[file]]\npaths = ['**/.env']\ndeny = 'all'\n"
    );
    let found = of(before, &after);
    let rows = |rows: &[crate::supervisor::diff::Row]| -> Vec<String> {
        rows.iter()
            .map(|row| format!("{} | {} | {}", row.rights.join(","), row.within, row.example))
            .collect()
    };
    assert_eq!(
        rows(&found.allowed),
        ["write,create | ${w}/build/** | ${w}/build/x", "write,create | ${w}/*.log | ${w}/.log"]
    );
    assert_eq!(rows(&found.denied), ["read | **/.env | ${w}/.env"]);
    let back = of(&after, before);
    assert_eq!((back.allowed, back.denied), (found.denied, found.allowed));
}

/// A denial by an absolute path says something only where a parameter's folder meets it.
#[test]
fn what_matters_only_for_some_folders_is_told() {
    let before = "params = ['w']\n[[file]]\npaths = ['${w}/**']\nallow = ['read']\n";
    let after = format!("{before}[[file]]\npaths = ['/home/dev/**']\ndeny = ['read']\n");
    let found = of(before, &after);
    assert!(found.allowed.is_empty() && found.denied.len() == 1, "{found:?}");
    assert_eq!(found.denied[0].within, "/home/dev/**");
    assert_eq!(found.denied[0].example, "/home/dev/x where ${w} is /home/dev");
    let nested = "params = ['w', 'v']\n[[file]]\npaths = ['${w}/**', '${v}/a']\nallow = ['read']\n";
    let found = of(nested, &format!("{nested}[[file]]\npaths = ['${{v}}/*b']\ndeny = ['read']\n"));
    assert_eq!(found.denied.len(), 1, "{found:?}");
    assert!(found.denied[0].example.contains("where ${"), "{found:?}");
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let one = "[[file]]\npaths = ['/a/**']\nallow = ['read']\n[[net]]\nto = ['10.0.0.0/8:1-9']\nallow = ['connect']\n";
    let other = "[[file]]\npaths = ['/a', '/a/**/*']\nallow = ['read']\n\
                 [[net]]\nto = ['10.0.0.0/9:1-9', '10.128.0.0/9:1-5', '10.128.0.0/9:6-9']\nallow = ['connect']\n";
    assert_eq!(of(one, other), Diff::default());
}

/// Bounds need not be those of powers of two, by which the tables have them.
#[test]
fn one_port_and_one_address_more_are_told() {
    let of_one = |before: &str, after: &str| {
        let rule = |to: &str| format!("[[net]]\nto = ['{to}']\nallow = ['connect']\n");
        let found = of(&rule(before), &rule(after));
        assert_eq!((found.allowed.len(), found.denied.len()), (1, 0), "{found:?}");
        found.allowed[0].example.clone()
    };
    assert_eq!(of_one("10.0.0.1:80-446", "10.0.0.1:80-447"), "10.0.0.1:447");
    assert_eq!(of_one("10.0.0.1:65534", "10.0.0.1:65534-65535"), "10.0.0.1:65535");
    assert_eq!(of_one("10.0.0.2/31:80", "10.0.0.0/30:80"), "10.0.0.1:80");
}

#[test]
fn abstract_names_are_told() {
    let file = "[[file]]\npaths = ['/run/**']\nallow = ['connect']\nends_sandbox = true\n";
    let rule = |names: &str, effect: &str| format!("[[unix]]\nabstract = [{names}]\n{effect}\n");
    let before = rule("'app-*'", "allow = ['connect', 'listen']") + file;
    let after =
        rule("'app-*', '/x/y'", "allow = ['connect']") + &rule("'*-old'", "deny = 'all'") + file;
    let found = of(&before, &after);
    let rows = |rows: &[crate::supervisor::diff::Row]| -> Vec<String> {
        rows.iter()
            .map(|row| format!("{} | {} | {}", row.rights.join(","), row.within, row.example))
            .collect()
    };
    assert_eq!(rows(&found.allowed), ["connect | @/x/y | @/x/y"]);
    // What is denied by a rule is its doing; what nothing allows any more is that of the rule that did.
    let denied = rows(&found.denied);
    assert!(denied.iter().any(|row| row.starts_with("listen | @app-* | @app-")), "{denied:?}");
    assert!(
        denied.iter().any(|row| row.starts_with("connect,listen | @*-old | @app-")),
        "{denied:?}"
    );
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert!(of(&before, &before).is_empty());
}

#[test]
fn peers_names_and_capabilities_are_told() {
    let before = "[[net]]\nto = ['10.0.0.0/8:443', 'a.example.org:443']\nallow = ['connect']\n";
    let after = "capabilities = ['syslog']\n[[net]]\nto = ['10.0.0.0/8:443', '*.example.org:443']\nallow = ['connect']\n\
                 [[net]]\nto = ['10.1.0.0/16:*']\ndeny = 'all'\n[[net]]\non = ['127.0.0.1:80']\nallow = ['listen']\n";
    let found = of(before, after);
    let rows = |rows: &[crate::supervisor::diff::Row]| -> BTreeSet<String> {
        rows.iter()
            .map(|row| format!("{} | {} | {}", row.rights.join(","), row.within, row.example))
            .collect()
    };
    let allowed = [
        "connect | tcp *.example.org:443 | x.example.org:443",
        "listen,accept | tcp on 127.0.0.1:80 | 127.0.0.1:80",
        "use | capability syslog | syslog",
    ];
    assert_eq!(rows(&found.allowed), allowed.map(str::to_owned).into());
    let denied = ["connect | tcp 10.1.0.0/16:* | 10.1.0.1:443"];
    assert_eq!(rows(&found.denied), denied.map(str::to_owned).into());
}

/// What a rule denies by its address, no name grants, so that a denial matters where nothing was granted before.
#[test]
fn a_denial_of_an_address_is_told_where_a_name_may_stand_for_it() {
    let before =
        "[[net]]\nto = ['a.example.org:443']\nresolves_to = ['10.0.0.0/8']\nallow = ['connect']\n";
    let after = format!("{before}[[net]]\nto = ['10.0.0.0/8:*']\ndeny = 'all'\n");
    let found = of(before, &after);
    assert_eq!(found.denied.len(), 1, "{found:?}");
    assert_eq!(found.denied[0].example, "a.example.org where it is 10.0.0.1:443");
    let plain = "[[net]]\nto = ['192.0.2.1:443']\nallow = ['connect']\n";
    let more = format!("{plain}[[net]]\nto = ['10.0.0.0/8:*']\ndeny = 'all'\n");
    assert_eq!(of(plain, &more), Diff::default());
}

/// Two names may stand for one address, and then one that is denied beats the other.
#[test]
fn a_denial_of_a_name_is_told_where_another_may_be_at_its_address() {
    let before = "[[net]]\nto = ['a.example.org:443', 'b.example.org:80']\nallow = ['connect']\n";
    let after =
        format!("{before}[[net]]\nto = ['b.example.org:443']\ndeny = ['connect']\nproto = 'tcp'\n");
    let found = of(before, &after);
    assert_eq!(found.denied.len(), 1, "{found:?}");
    assert_eq!(found.denied[0].example, "a.example.org at an address of b.example.org, port 443");
}

/// A folder is moved only where the same states say what holds below it.
#[test]
fn moving_folders_is_told_where_nothing_else_differs() {
    let rule = |path: &str| {
        format!("[[file]]\npaths = ['{path}']\nallow = ['read', 'write', 'create', 'delete']\n")
    };
    let (one, other) = (rule("/srv/**"), rule("/srv/a/**"));
    // An earlier rule keeps its number, and so its states.
    let found = of(&format!("{one}{other}"), &format!("{other}{one}"));
    assert!(found.allowed.is_empty(), "{found:?}");
    assert_eq!(found.denied[0].rights, ["move a folder"]);
}

#[test]
fn a_denial_that_becomes_a_tripwire_is_told() {
    let rules = "[[file]]\npaths = ['/a', '/b']\ndeny = 'all'\n[[net]]\nto = ['192.0.2.1:80']\ndeny = 'all'\n";
    let found = of(rules, &rules.replace("'all'", "'all'\ntripwire = true"));
    let [told] = found.settings.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (told.name.as_str(), told.before.as_str(), told.after.as_str()),
        ("tripwires", "none", "/a, /b, 192.0.2.1:80")
    );
    assert!(found.allowed.is_empty() && found.denied.is_empty(), "{found:?}");
}

#[test]
fn settings_are_told_in_words() {
    let found = of(
        "max_ttl = '2h'\n[[file]]\npaths = ['/a']\nallow = ['read']\n",
        "max_ttl = '3h'\nmode = 'audit'\non_end = 'deny'\n[[file]]\npaths = ['/a']\nallow = ['read']\n\
         [delegate]\nto = ['p', 'q']\n",
    );
    let told: Vec<String> =
        found.settings.iter().map(|it| format!("{} {} {}", it.name, it.before, it.after)).collect();
    assert_eq!(
        told,
        [
            "max_ttl 2h 3h",
            "mode enforce audit",
            "on_end kill deny",
            "delegate to none p, q",
            "depth none 1",
            "fan_out none 8",
            "on_excess none refuse",
        ]
    );
}
