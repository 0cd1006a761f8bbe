use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::{
    registry::{Ambiguous, Registry, Taken},
    run::{End, OnEnd, Place, PolicyVersion, Run, RunMode, Totals},
    state::{Ending, Phase},
};

fn run(number: u128, slot: u32) -> Run {
    Run {
        id: Uuid::from_u128(number),
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        purpose: None,
        on_behalf_of: None,
        labels: BTreeMap::new(),
        policy: PolicyVersion { name: "p".to_owned(), digest: "0".to_owned() },
        params: BTreeMap::new(),
        given: Default::default(),
        mode: RunMode::Enforce,
        on_end: OnEnd::Kill,
        names: false,
        parent: None,
        above: Vec::new(),
        command: vec!["true".to_owned()],
        uid: 1000,
        tgid: 10,
        issued_by: None,
        place: Place { slot, generation: u64::from(slot) + 100, deadline: 1 },
        launched_ms: 0,
        launched_ns: 0,
        phase: Phase::Active,
        account: None,
        frozen: false,
        held_by: None,
        outlasts: false,
        groups: Default::default(),
        enclosure: None,
        changes: Vec::new(),
        end: None,
    }
}

fn end(ending: Ending) -> End {
    End { ending, at_ms: 5, reason: None, by_uid: None, totals: None }
}

#[test]
fn gives_every_slot_but_the_canarys_before_one_twice() {
    let mut registry = Registry::new(8, 4);
    let mut given = HashSet::new();
    for number in 1..8 {
        let slot = registry.free_slot().unwrap();
        assert!(given.insert(slot));
        registry.insert(run(number, slot)).unwrap();
    }
    assert_eq!(given, (1..8).collect());
    assert_eq!(registry.free_slot(), None);
}

/// Whoever has many users at his disposal (`newuidmap`) has the part of one.
#[test]
fn who_is_many_users_forgets_no_record_of_others() {
    let mut registry = Registry::new(8, 4);
    let mut end_one = |number: u128, uid: u32, account: u32| {
        let slot = registry.free_slot().unwrap();
        registry.insert(Run { uid, account: Some(account), ..run(number, slot) }).unwrap();
        assert_eq!(
            (registry.live_of(account), registry.live_of(uid)),
            (1, usize::from(uid == account))
        );
        registry.end(Uuid::from_u128(number), end(Ending::Completed)).unwrap();
    };
    (1..3).for_each(|number| end_one(number, 1000, 1000));
    (10..30).for_each(|number| end_one(number, 100_000 + number as u32, 100_000));
    for number in 1..3 {
        assert!(registry.get(Uuid::from_u128(number)).is_some());
    }
}

#[test]
fn does_not_give_a_slot_again_while_others_are_free() {
    let mut registry = Registry::new(4, 4);
    let slot = registry.free_slot().unwrap();
    registry.insert(run(1, slot)).unwrap();
    registry.end(Uuid::from_u128(1), end(Ending::Completed)).unwrap();
    assert_ne!(registry.free_slot(), Some(slot));
}

#[test]
fn refuses_a_slot_or_an_id_twice() {
    let mut registry = Registry::new(8, 4);
    registry.insert(run(1, 1)).unwrap();
    assert_eq!(registry.insert(run(2, 1)), Err(Taken { id: Uuid::from_u128(2), slot: 1 }));
    assert_eq!(registry.insert(run(1, 2)), Err(Taken { id: Uuid::from_u128(1), slot: 2 }));
}

#[test]
fn an_ending_is_final_and_the_first_reason_stands() {
    let mut registry = Registry::new(8, 4);
    registry.insert(run(1, 1)).unwrap();
    let id = Uuid::from_u128(1);
    assert!(registry.stop(id, end(Ending::Revoked)).is_some());
    assert!(registry.stop(id, end(Ending::Expired)).is_none());
    let totals = Some(Totals { started: 3, ..Totals::default() });
    let (ended, _) = registry.end(id, End { totals, ..end(Ending::Completed) }).unwrap();
    assert_eq!(ended.phase, Phase::Ended(Ending::Revoked));
    assert_eq!(ended.end.unwrap().totals, totals);
    assert!(registry.end(id, end(Ending::Completed)).is_none());
    assert!(registry.stop(id, end(Ending::Revoked)).is_none());
}

#[test]
fn a_slot_belongs_to_one_generation_only() {
    let mut registry = Registry::new(8, 4);
    registry.insert(run(1, 3)).unwrap();
    assert!(registry.holder(3, 103).is_some());
    assert!(registry.holder(3, 102).is_none());
    registry.end(Uuid::from_u128(1), end(Ending::Completed)).unwrap();
    assert!(registry.holder(3, 103).is_none());
}

#[test]
fn forgets_the_runs_that_ended_first() {
    let mut registry = Registry::new(8, 2);
    let mut forgotten = Vec::new();
    for number in 1..=4_u32 {
        registry.insert(run(number.into(), number)).unwrap();
        let (_, gone) =
            registry.end(Uuid::from_u128(number.into()), end(Ending::Completed)).unwrap();
        forgotten.extend(gone.iter().map(|former| former.id));
    }
    assert_eq!(forgotten, [Uuid::from_u128(1), Uuid::from_u128(2)]);
    assert_eq!(registry.all().count(), 2);
}

#[test]
fn who_ends_many_runs_forgets_his_own() {
    let mut registry = Registry::new(64, 8);
    let mut end_one = |number: u32, uid| -> Vec<u32> {
        registry.insert(Run { uid, ..run(number.into(), number) }).unwrap();
        let ended = registry.end(Uuid::from_u128(number.into()), end(Ending::Completed));
        ended.unwrap().1.iter().map(|former| former.uid).collect()
    };
    for number in 1..=3 {
        assert!(end_one(number, 1000).is_empty());
    }
    let forgotten: Vec<u32> = (4..=40).flat_map(|number| end_one(number, 1001)).collect();
    assert_eq!(forgotten, [1001; 32]);
    assert_eq!(registry.all().filter(|run| run.uid == 1000).count(), 3);
}

#[test]
fn forgets_what_has_ended_by_then_and_nothing_that_lives() {
    let mut registry = Registry::new(8, 8);
    for number in 1..=4_u32 {
        registry.insert(run(number.into(), number)).unwrap();
    }
    // Not in the order of their launches.
    for (number, at_ms) in [(2, 30), (1, 20), (3, 40)] {
        registry.end(Uuid::from_u128(number), End::of(Ending::Completed, at_ms)).unwrap();
    }
    let mut forgotten = |at_ms| -> Vec<u128> {
        registry.forget_ended_by(at_ms).iter().map(|former| former.id.as_u128()).collect()
    };
    assert!(forgotten(19).is_empty());
    assert_eq!(forgotten(30), [2, 1]);
    assert_eq!(forgotten(u64::MAX), [3]);
    assert_eq!(registry.all().map(|run| run.id).collect::<Vec<_>>(), [Uuid::from_u128(4)]);
}

#[test]
fn finds_a_run_by_the_start_or_the_end_of_its_id() {
    let mut registry = Registry::new(8, 4);
    let first = 0x0190_0000_0000_7000_8000_0000_0000_aaaa;
    let second = 0x0190_0000_0000_7000_8000_0000_0000_bbbb;
    registry.insert(run(first, 1)).unwrap();
    registry.insert(run(second, 2)).unwrap();
    let all = |_: &Run| true;
    assert_eq!(registry.find("AAAA", all).unwrap().id, Uuid::from_u128(first));
    assert_eq!(registry.find(&Uuid::from_u128(second).to_string(), all).unwrap().place.slot, 2);
    let some = vec![Uuid::from_u128(second), Uuid::from_u128(first)];
    let many = Ambiguous::Many { text: "01900000".to_owned(), count: 2, some };
    assert_eq!(registry.find("01900000", all), Err(many));
    assert_eq!(registry.find("aaa", all), Err(Ambiguous::Short("aaa".to_owned())));
    assert_eq!(registry.find("cccc", all), Err(Ambiguous::Unknown("cccc".to_owned())));
}

#[test]
fn a_run_that_may_not_be_seen_cannot_be_found_nor_make_another_ambiguous() {
    let mut registry = Registry::new(8, 4);
    registry.insert(Run { uid: 0, ..run(0xaaaa_0001_aaaa, 1) }).unwrap();
    registry.insert(run(0xaaaa_0002_aaaa, 2)).unwrap();
    let own = |run: &Run| run.uid == 1000;
    assert_eq!(registry.find("aaaa", own).unwrap().place.slot, 2);
    let hidden = Uuid::from_u128(0xaaaa_0001_aaaa).to_string();
    assert_eq!(registry.find(&hidden, own), Err(Ambiguous::Unknown(hidden.clone())));
}

#[test]
fn descendants_are_all_active_runs_below() {
    let mut registry = Registry::new(8, 4);
    let id = Uuid::from_u128;
    registry.insert(run(1, 1)).unwrap();
    registry.insert(Run { parent: Some(id(1)), ..run(2, 2) }).unwrap();
    registry.insert(Run { parent: Some(id(2)), ..run(3, 3) }).unwrap();
    registry.insert(run(4, 4)).unwrap();
    assert_eq!(registry.descendants(id(1)), [id(2), id(3)]);
    assert_eq!(registry.ancestry(id(3)), 3);
    registry.stop(id(2), end(Ending::Revoked)).unwrap();
    assert!(registry.descendants(id(1)).is_empty());
}
