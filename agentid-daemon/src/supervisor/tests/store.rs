use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use agentid_common::name::NameKey;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{id, launch};
use crate::{
    event::number::Numbers,
    image::Image,
    instance::{DeniedOwners, OwnerDenial, Run, run::PolicyVersion},
    supervisor::{
        rules::Rules,
        store::{Store, StoreError, digest},
    },
};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path()).unwrap()
}

fn version(text: &str) -> PolicyVersion {
    PolicyVersion { name: "review".to_owned(), digest: digest(text) }
}

#[test]
fn a_run_survives_the_daemon() {
    let folder = folder();
    let run = launch(1).run;
    open(&folder).save(&run).unwrap();
    assert_eq!(open(&folder).runs().unwrap(), [run]);
    open(&folder).forget(id(1)).unwrap();
    open(&folder).forget(id(1)).unwrap();
    assert!(open(&folder).runs().unwrap().is_empty());
}

#[test]
fn many_runs_are_saved_together_and_one_that_cannot_be_keeps_none_from_it() {
    let folder = folder();
    let runs: Vec<_> = (1..20).map(|number| launch(number).run).collect();
    let store = open(&folder);
    assert!(store.save_all(runs.iter()).runs.is_empty());
    // In the place of one file there is something that no file can take the place of.
    let blocked = folder.path().join("invocations").join(format!("{}.json", id(7)));
    fs::remove_file(&blocked).unwrap();
    fs::create_dir_all(blocked.join("full")).unwrap();
    let changed = |run: &Run| Run { agent: "other".to_owned(), ..run.clone() };
    let changed: Vec<Run> = runs.iter().map(changed).collect();
    let unsaved = store.save_all(changed.iter());
    assert!(matches!(unsaved.errors.as_slice(), [StoreError::Io { .. }]), "{unsaved:?}");
    assert_eq!(unsaved.runs, [id(7)].into(), "the others are not behind");
    drop(store);
    fs::remove_dir_all(&blocked).unwrap();
    let others: Vec<Run> = changed.into_iter().filter(|run| run.id != id(7)).collect();
    assert_eq!(open(&folder).runs().unwrap(), others);
}

#[test]
fn a_cgroup_whose_name_is_no_text_is_kept() {
    let folder = folder();
    let store = open(&folder);
    let mut run = launch(1).run;
    run.groups = [OsStr::from_bytes(b"user.slice/\xff").into()].into();
    store.save(&run).unwrap();
    assert_eq!(store.runs().unwrap(), [run]);
}

#[test]
fn a_second_daemon_is_refused() {
    let folder = folder();
    let first = open(&folder);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    drop(first);
    open(&folder);
}

#[test]
fn no_number_of_an_event_is_given_by_two_daemons() {
    let folder = folder();
    let path = folder.path().join("numbered");
    let mut last = 0;
    for _ in 0..3 {
        let mut store = open(&folder);
        let mut numbers = Numbers::above(store.numbered().unwrap());
        assert!(numbers.start() >= last);
        for _ in 0..100 {
            last = numbers.take();
            store.reserve_numbers(last).unwrap();
        }
        // Not written for each.
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        store.reserve_numbers(numbers.take()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        // The daemon ends here, without a word.
    }
    for text in ["", "x", "-1", "9007199254740992"] {
        fs::write(&path, text).unwrap();
        let error = open(&folder).numbered().unwrap_err();
        assert!(matches!(error, StoreError::Numbered { .. }), "{error}");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}

fn corrupt(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, change(text)).unwrap();
}

#[test]
fn a_corrupt_file_is_named_with_the_way_out() {
    let folder = folder();
    let store = open(&folder);
    store.save(&launch(1).run).unwrap();
    let path = folder.path().join(format!("invocations/{}.json", id(1)));
    corrupt(&path, |text| text[..text.len() / 2].to_owned());
    let error = store.runs().unwrap_err();
    assert!(matches!(error, StoreError::Run { .. }));
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains("move it away"), "{text}");
}

#[test]
fn a_file_of_another_format_or_under_another_name_is_refused() {
    let folder = folder();
    let store = open(&folder);
    store.save(&launch(1).run).unwrap();
    let path = folder.path().join(format!("invocations/{}.json", id(1)));
    corrupt(&path, |text| text.replace("\"format\": 2", "\"format\": 3"));
    assert!(matches!(store.runs().unwrap_err(), StoreError::Format { format: 3, .. }));
    corrupt(&path, |text| text.replace("\"format\": 3", "\"format\": 1"));
    fs::rename(&path, folder.path().join(format!("invocations/{}.json", id(2)))).unwrap();
    assert!(matches!(store.runs().unwrap_err(), StoreError::Name { .. }));
}

#[test]
fn what_was_being_written_when_the_daemon_died_is_dropped() {
    let folder = folder();
    let store = open(&folder);
    let half = folder.path().join(format!("invocations/{}.json.new", id(1)));
    fs::write(&half, "{").unwrap();
    assert!(store.runs().unwrap().is_empty());
    assert!(!half.exists());
}

#[test]
fn a_number_that_may_have_been_used_is_not_given_after_a_restart() {
    let folder = folder();
    let mut store = open(&folder);
    assert_eq!(store.mark(), 0);
    store.reserve(10).unwrap();
    drop(store);
    let mut store = open(&folder);
    assert!(store.mark() >= 10);
    let last = store.mark();
    store.reserve(last).unwrap();
    drop(store);
    assert!(open(&folder).mark() >= last);
    fs::write(folder.path().join("mark"), "many").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Mark { .. })));
}

proptest! {
    /// However often the daemon starts anew, and whether it has used the numbers that it has reserved or not, none is given twice, and
    /// each is above all before it: a tag that was left anywhere is no later run's.
    #[test]
    fn no_generation_is_given_twice(lives in proptest::collection::vec(0_u32..6000, 1..8)) {
        let folder = folder();
        let mut last = 0;
        for runs in lives {
            let mut store = open(&folder);
            // As little as there can be: the kernel may have been started anew, and holds nothing.
            let (mut rules, _) = Rules::new(NameKey::default(), Image::default(), store.mark());
            for _ in 0..runs {
                let generation = rules.generation();
                store.reserve(rules.high_water()).unwrap();
                prop_assert!(generation > last, "{generation} after {last}");
                last = generation;
            }
        }
    }
}

#[test]
fn a_policys_text_is_the_one_that_its_name_stands_for() {
    let folder = folder();
    let store = open(&folder);
    let text = "name = \"review\"\n";
    store.keep_policy(&version(text), text).unwrap();
    store.keep_policy(&version(text), text).unwrap();
    assert_eq!(store.policy(&version(text)).unwrap(), text);
    let path = folder.path().join(format!("policies/{}.toml", version(text)));
    fs::write(path, "name = \"other\"\n").unwrap();
    assert!(matches!(store.policy(&version(text)), Err(StoreError::Policy { .. })));
    assert!(matches!(store.keep_policy(&version(text), text), Err(StoreError::Policy { .. })));
}

#[test]
fn texts_of_policies_that_nobody_has_are_swept() {
    let folder = folder();
    let store = open(&folder);
    let [kept, gone] = ["[policy]\nname = \"kept\"\n", "[policy]\nname = \"gone\"\n"];
    for text in [kept, gone] {
        store.keep_policy(&version(text), text).unwrap();
    }
    let half = folder.path().join("policies").join(format!("{}.toml.new", version(gone)));
    fs::write(&half, "half").unwrap();
    assert!(store.sweep_policies(&[version(kept).to_string()].into()).is_empty());
    assert_eq!(store.policy(&version(kept)).unwrap(), kept);
    assert!(store.policy(&version(gone)).is_err());
    assert!(!half.exists());
}

#[test]
fn denied_owners_survive_the_daemon_and_a_corrupt_list_stops_the_start() {
    let folder = folder();
    assert!(open(&folder).owners().unwrap().is_empty());
    let reason = Some("left".to_owned());
    let denial = OwnerDenial { at_ms: 7, by_uid: 0, reason };
    let denied: DeniedOwners = [("alice".to_owned(), denial)].into();
    open(&folder).save_owners(&denied).unwrap();
    assert_eq!(open(&folder).owners().unwrap(), denied);
    corrupt(&folder.path().join("owners.json"), |text| text.replace("alice", "al\"ice"));
    let error = open(&folder).owners().unwrap_err();
    assert!(error.to_string().contains("move it away"), "{error}");
}

/// What a reader sees in the first five minutes is the policy that ships.
#[test]
fn the_readme_shows_the_version_of_the_shipped_policy() {
    let shipped = digest(include_str!("../../../dist/policies/coding-agent.toml"));
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(&format!("coding-agent  {shipped}  workspace")), "{shipped}");
}
