use super::{id, launch};
use crate::{control::api::Selector, instance::Run};

fn run() -> Run {
    let mut run = launch(1).run;
    run.labels = [("team", "core"), ("tier", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    run.parent = Some(id(9));
    run.launched_ms = 1000;
    run
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn every_filter_must_hold() {
    let labels = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let nothing = Selector::default;
    let hits = [
        nothing(),
        Selector { agent: some("reviewer"), owner: some("alice"), ..nothing() },
        Selector { task: some("T-1"), policy: some("p"), ..nothing() },
        Selector { labels: labels("team", "core"), ..nothing() },
        Selector { older_than_ms: Some(500), ..nothing() },
        Selector { children_of: some("0009"), ..nothing() },
    ];
    let misses = [
        Selector { agent: some("reviewer"), owner: some("bob"), ..nothing() },
        Selector { agent: some("review"), ..nothing() },
        Selector { policy: some("p@0"), ..nothing() },
        Selector { labels: labels("team", "other"), ..nothing() },
        Selector { labels: labels("none", ""), ..nothing() },
        Selector { older_than_ms: Some(501), ..nothing() },
    ];
    for selector in hits {
        assert!(selector.matches(&run(), Some(id(9)), 1500), "{selector:?}");
    }
    for selector in misses {
        assert!(!selector.matches(&run(), Some(id(9)), 1500), "{selector:?}");
    }
    let children = Selector { children_of: some("0008"), ..nothing() };
    assert!(!children.matches(&run(), Some(id(8)), 1500));
    assert!(!children.matches(&run(), None, 1500));
    assert!(nothing().is_empty() && !Selector { all: true, ..nothing() }.is_empty());
}
