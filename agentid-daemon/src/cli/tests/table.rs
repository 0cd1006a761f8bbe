//! How much of an answer is shown where there is little room.

use uuid::Uuid;

use super::{verb, view};
use crate::{
    cli::{render, select, table::wrapped},
    control::api::{MapView, PolicyInForce, PolicyView, RunView, StatusReply},
};

#[test]
fn spans_have_their_two_largest_units() {
    let span = |seconds: u64| render::span(5, 5 + seconds * 1000);
    let all = [0, 59, 90, 600, 3600, 3725, 86_400, 90_000, 864_060].map(span);
    assert_eq!(all, ["0s", "59s", "1m30s", "10m", "1h", "1h2m", "1d", "1d1h", "10d"]);
    assert_eq!(render::span(2000, 1000), "0s");
}

#[test]
fn a_table_fits_a_terminal_and_is_whole_without_one() {
    let long = RunView {
        agent: "nightly-dependency-updater".to_owned(),
        owner: "dana.scully@example.org".to_owned(),
        task: "TICKET-20261".to_owned(),
        phase: "suspended".to_owned(),
        ..view()
    };
    let text = |room| verb::ps::text(&[view(), long.clone()], 90_000, room);
    let expected = "\
ID            AGENT                       OWNER                    TASK          POLICY        STATE      TASKS  DENIED  AGE    LEFT
123456789abc  reviewer                    alice                    T-1           coding-agent  active     3      2       1m30s  28m30s
123456789abc  nightly-dependency-updater  dana.scully@example.org  TICKET-20261  coding-agent  suspended  3      2       1m30s  28m30s
";
    assert_eq!(text(None), expected);
    for room in 40..140 {
        let widest = text(Some(room)).lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= room.max(66), "{room}: {widest}");
    }
    let expected = "\
ID            AGENT         OWNER         TASK         STATE      DENIED  LEFT
123456789abc  reviewer      alice         T-1          active     2       28m30s
123456789abc  nightly-dep…  dana.scully…  TICKET-202…  suspended  2       28m30s
";
    assert_eq!(text(Some(80)), expected);
}

/// Names, and descriptions, may be as long as policies may have them.
#[test]
fn tables_of_policies_fit_a_terminal() {
    let policy = |name: &str| PolicyInForce {
        name: name.to_owned(),
        digest: "7435a611b2e39c2a".to_owned(),
        description: Some("what the reference shows ".repeat(4)),
        params: vec!["workspace".to_owned(), "cache".to_owned()],
        offered: true,
        runs: 12,
    };
    let policies = [policy(&"n".repeat(64)), policy("review")];
    let view = |it: &PolicyInForce| PolicyView {
        name: it.name.clone(),
        digest: it.digest.clone(),
        description: it.description.clone(),
        params: it.params.clone(),
    };
    let maps = vec![MapView { name: "PEERS".to_owned(), entries: 12, capacity: 65536 }];
    let status = StatusReply {
        version: "1".to_owned(),
        abi: 9,
        posture: "enforcing".to_owned(),
        why: None,
        started_ms: 0,
        active: 0,
        suspended: 0,
        stopping: 0,
        slots: 1,
        hooks: Vec::new(),
        policies: policies.iter().map(view).collect(),
        policy_mistakes: Vec::new(),
        denied_owners: Vec::new(),
        unsaved: 0,
        maps,
    };
    for room in [60, 80, 100] {
        let list = verb::policies::text(&policies, Some(room));
        for text in [&list, &verb::status::text(&status, Some(room))] {
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= room, "{room}: {widest}:\n{text}");
            assert!(text.contains("nnnn…") || text.contains(&"n".repeat(20)), "{text}");
        }
    }
    let whole = verb::policies::text(&policies, None);
    assert!(whole.contains(&"n".repeat(64)) && whole.contains("7435a611b2e39c2a"), "{whole}");
}

#[test]
fn what_is_below_is_counted_once() {
    let id = Uuid::from_u128;
    let run = |own, above: &[u128], below| RunView {
        id: id(own),
        above: above.iter().copied().map(id).collect(),
        below,
        ..view()
    };
    let (top, middle, leaf) =
        (run(1, &[], Some(2)), run(2, &[1], Some(1)), run(3, &[2, 1], Some(0)));
    let other = run(7, &[], Some(4));
    let hit = |runs: &[&RunView]| {
        let runs: Vec<RunView> = runs.iter().copied().cloned().collect();
        select::hit("revoke", &runs)
    };
    assert_eq!(hit(&[&top]), "1 run, and 2 below it");
    assert_eq!(hit(&[&top, &leaf]), "2 runs, and 1 below them");
    assert_eq!(hit(&[&middle, &top, &leaf]), "3 runs");
    assert_eq!(hit(&[&middle, &other]), "2 runs, and 5 below them");
    assert_eq!(hit(&[&leaf]), "1 run");
    // Without a daemon it is not known.
    assert_eq!(hit(&[&run(1, &[], None)]), "1 run");
    assert_eq!(select::hit("extend", &[top]), "1 run", "who is below has a time of its own");
}

#[test]
fn a_text_goes_on_below_its_first_word() {
    assert_eq!(wrapped("  1  ", "allow read on /a, /b", None), "  1  allow read on /a, /b\n");
    let expected = "  1  allow read\n     on /a, /b\n";
    assert_eq!(wrapped("  1  ", "allow read on /a, /b", Some(15)), expected);
    let long = "/a/path/that/is/longer/than/that";
    assert_eq!(wrapped("- ", &format!("on {long} x"), Some(10)), format!("- on\n  {long}\n  x\n"));
    assert_eq!(wrapped("- ", "a\u{1b}[2J", Some(10)), "- a\\u{1b}[2J\n");
    assert_eq!(wrapped("- ", "", Some(10)), "- \n");
}
