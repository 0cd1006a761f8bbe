use uuid::Uuid;

use super::{SLOTS, child, id, launch};
use crate::{
    control::api::Selector,
    instance::{Ending, Phase, Registry, Run},
    supervisor::{select, step::Now},
};

fn at(wall_ms: u64) -> Now {
    Now { boot_ns: 0, wall_ms }
}

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
        assert!(selector.matches(&run(), Some(id(9)), at(1500)), "{selector:?}");
    }
    for selector in misses {
        assert!(!selector.matches(&run(), Some(id(9)), at(1500)), "{selector:?}");
    }
    let children = Selector { children_of: some("0008"), ..nothing() };
    assert!(!children.matches(&run(), Some(id(8)), at(1500)));
    assert!(!children.matches(&run(), None, at(1500)));
    assert!(nothing().is_empty() && !Selector { all: true, ..nothing() }.is_empty());
}

#[test]
fn a_clock_that_is_set_makes_no_run_older() {
    const OLD: u64 = 2_000_000_000;
    let lived = Run { launched_ns: 1_000_000_000, ..run() };
    let selector = Selector { older_than_ms: Some(1000), ..Selector::default() };
    let now = |boot_ns, wall_ms| Now { boot_ns, wall_ms };
    assert!(!selector.matches(&lived, None, now(OLD - 1, u64::MAX)));
    assert!(selector.matches(&lived, None, now(OLD, 0)));
    let ended = Run { phase: Phase::Ended(Ending::Completed), ..lived };
    assert!(selector.matches(&ended, None, now(0, 2000)), "it may be of another boot");
}

/// The run, in the table.
fn listed(registry: &mut Registry, mut run: Run, slot: u32) -> Run {
    run.place.slot = slot;
    registry.insert(run.clone()).unwrap();
    run
}

#[test]
fn a_tree_has_what_is_meant_with_all_below_it_and_each_run_once() {
    let mut registry = Registry::new(SLOTS, 10);
    let of = |mut run: Run, agent: &str, uid| {
        (run.agent, run.uid) = (agent.to_owned(), uid);
        run
    };
    listed(&mut registry, of(launch(1).run, "planner", 1000), 1);
    listed(&mut registry, of(child(2, 1).run, "reviewer", 1000), 2);
    listed(&mut registry, of(child(3, 2).run, "tester", 1000), 3);
    listed(&mut registry, of(child(4, 2).run, "tester", 0), 4);
    listed(&mut registry, of(launch(5).run, "reviewer", 0), 5);
    let trees = |selector: Selector, uid: Option<u32>| -> Vec<Uuid> {
        let sees = |run: &Run| uid.is_none_or(|uid| uid == run.uid);
        let runs = select::find_trees(&registry, &selector, sees, at(0)).unwrap();
        runs.into_iter().map(|run| run.id).collect()
    };
    let agent = |name| Selector { agent: some(name), ..Selector::default() };
    assert_eq!(trees(agent("reviewer"), None), [2, 3, 4, 5].map(id));
    assert_eq!(trees(agent("reviewer"), Some(1000)), [2, 3].map(id));
    assert!(trees(agent("nobody"), None).is_empty());
    assert_eq!(trees(Selector { all: true, ..Selector::default() }, None), [1, 2, 3, 4, 5].map(id));
    let one = Selector { id: some(&id(3).to_string()), ..Selector::default() };
    assert_eq!(trees(one, None), [id(3)]);
}
