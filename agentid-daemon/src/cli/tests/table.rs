//! How much of an answer is shown where there is little room.

use super::{verb, view};
use crate::{
    cli::{render, table::wrapped},
    control::api::RunView,
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
