use agentid_common::{
    capability::Capabilities,
    instance::{Instance, NO_SLOT, State as SlotState},
};
use uuid::Uuid;

use super::{child, id, launch, now, state};
use crate::{
    instance::{
        Bounds, Demand, Enclosure, Ending, Phase, Posture,
        run::{End, OnEnd, PolicyVersion, RunMode, Totals},
    },
    supervisor::{
        refusal::Refusal,
        rules::Bond,
        step::{Actor, Effect, Input, Launch, OnLost, Renewal, State, Way, step},
    },
};

fn launched(state: &mut State, launch: Box<Launch>) -> Vec<Effect> {
    step(state, Input::Launch(launch), now(0)).unwrap()
}

fn occupied(effects: &[Effect]) -> Instance {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Occupy { instance, .. } => Some(*instance),
        _ => None,
    });
    found.unwrap()
}

/// Names of the effects with their runs, which is what most promises are about.
fn names(effects: &[Effect]) -> Vec<String> {
    let short = |id: &Uuid| (id.as_u128() - 0x1000).to_string();
    let name = |effect: &Effect| match effect {
        Effect::Save(id) => format!("save {}", short(id)),
        Effect::Forget(former) => {
            let ids: Vec<String> = former.iter().map(|it| short(&it.id)).collect();
            format!("forget {}", ids.join(" "))
        }
        Effect::Attach(Demand { descriptors, kill, network: _, names: _ }) => {
            let word = |wanted: &bool, word| if *wanted { word } else { "" };
            format!("attach{}{}", word(descriptors, " descriptors"), word(kill, " kill"))
        }
        Effect::Occupy { id, .. } => format!("occupy {}", short(id)),
        Effect::Enclose(id) => format!("enclose {}", short(id)),
        Effect::Tag(id) => format!("tag {}", short(id)),
        Effect::Retag(id) => format!("retag {}", short(id)),
        Effect::TagGathered(id) => format!("tag gathered {}", short(id)),
        Effect::Rebind(id) => format!("rebind {}", short(id)),
        Effect::Bind { slot, rules, .. } => format!("bind slot {slot} to {}", rules.policy),
        Effect::Deny { slot, state } => format!("deny slot {slot} {}", state.0),
        Effect::SaveOwners => "save owners".to_owned(),
        Effect::Permit { slot } => format!("permit slot {slot}"),
        Effect::Prolong { slot, deadline } => {
            format!("prolong slot {slot} {}", deadline / 1_000_000_000)
        }
        Effect::Stop { id, how } => format!("stop {} {}", short(id), how.name()),
        Effect::Freeze(id) => format!("freeze {}", short(id)),
        Effect::Thaw(id) => format!("thaw {}", short(id)),
        Effect::Clear { id, slot } => format!("clear {} slot {slot}", short(id)),
        Effect::Publish { id, .. } => match id {
            Some(id) => format!("publish {}", short(id)),
            None => "publish".to_owned(),
        },
    };
    effects.iter().map(name).collect()
}

fn revoke(number: u64) -> Input {
    Input::Revoke { ids: vec![id(number)], kill: false, by: Actor { uid: 0, reason: None } }
}

#[test]
fn a_launch_is_on_disk_before_the_kernel_knows_it_and_in_the_kernel_before_the_tag() {
    let mut state = state();
    let effects = launched(&mut state, launch(1));
    assert_eq!(names(&effects), ["save 1", "attach kill", "occupy 1", "tag 1", "publish 1"]);
    let instance = occupied(&effects);
    assert_eq!(instance.state, SlotState::ACTIVE);
    assert_eq!((instance.generation, instance.policy, instance.params), (2, 1, 2));
    assert_eq!((instance.parent, instance.parent_generation), (NO_SLOT, 0));
    assert_eq!(instance.invocation.0, id(1).into_bytes());
}

#[test]
fn a_launch_is_refused_while_the_host_does_not_enforce() {
    for posture in [Posture::Off, Posture::Degraded] {
        let mut state = state();
        state.posture = posture("no bpf".to_owned());
        let refusal = step(&mut state, Input::Launch(launch(1)), now(0)).unwrap_err();
        assert_eq!(refusal, Refusal::NotEnforcing("no bpf".to_owned()));
        assert_eq!(state.registry.all().count(), 0);
    }
}

#[test]
fn a_user_has_no_more_runs_at_once_than_he_may() {
    let mut state = state();
    state.per_user = 2;
    let of = |number, uid| {
        let mut launch = launch(number);
        launch.run.uid = uid;
        launch
    };
    launched(&mut state, of(1, 1000));
    launched(&mut state, of(2, 1000));
    let refusal = step(&mut state, Input::Launch(of(3, 1000)), now(0)).unwrap_err();
    assert_eq!(refusal, Refusal::Crowd { uid: 1000, limit: 2 });
    launched(&mut state, of(4, 1001));
    for number in 5..8 {
        launched(&mut state, of(number, 0));
    }
    let place = state.registry.get(id(1)).unwrap().place;
    let (slot, generation) = (place.slot, place.generation);
    step(&mut state, Input::Empty { slot, generation, totals: Totals::default() }, now(1)).unwrap();
    launched(&mut state, of(8, 1000));
}

#[test]
fn a_full_table_refuses_and_changes_nothing() {
    let mut state = state();
    for number in 1..8 {
        launched(&mut state, launch(number));
    }
    let refusal = step(&mut state, Input::Launch(launch(9)), now(0)).unwrap_err();
    assert_eq!(refusal, Refusal::NoSlot(7));
    assert_eq!(state.registry.all().count(), 7);
}

#[test]
fn a_failed_launch_gives_its_slot_back() {
    let mut state = state();
    launched(&mut state, launch(1));
    let failed = Input::LaunchFailed { id: id(1), tagged: false };
    let effects = step(&mut state, failed, now(1)).unwrap();
    assert_eq!(names(&effects), ["clear 1 slot 1", "save 1", "publish 1"]);
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Ended(Ending::LaunchFailed));
}

#[test]
fn a_launch_that_fails_with_a_task_keeps_its_slot_until_that_is_killed() {
    let mut state = state();
    launched(&mut state, launch(1));
    let failed = Input::LaunchFailed { id: id(1), tagged: true };
    let effects = step(&mut state, failed, now(1)).unwrap();
    assert_eq!(names(&effects)[0], "deny slot 1 3");
    assert!(effects.contains(&Effect::Stop { id: id(1), how: OnEnd::Kill }));
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Stopping(Ending::LaunchFailed));
    let empty = Input::Empty { slot: 1, generation: 2, totals: Totals::default() };
    step(&mut state, empty, now(2)).unwrap();
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Ended(Ending::LaunchFailed));
}

#[test]
fn a_revocation_denies_all_of_the_tree_before_it_stops_any() {
    let mut state = state();
    launched(&mut state, launch(1));
    launched(&mut state, child(2, 1));
    launched(&mut state, child(3, 2));
    launched(&mut state, launch(4));
    let effects = step(&mut state, revoke(1), now(1)).unwrap();
    let expected = [
        "deny slot 1 3",
        "deny slot 2 3",
        "deny slot 3 3",
        "attach kill",
        "stop 1 kill",
        "stop 2 kill",
        "stop 3 kill",
        "save 1",
        "publish 1",
        "save 2",
        "publish 2",
        "save 3",
        "publish 3",
    ];
    assert_eq!(names(&effects), expected);
    assert_eq!(state.registry.get(id(4)).unwrap().phase, Phase::Active);
    assert_eq!(state.registry.get(id(3)).unwrap().phase, Phase::Stopping(Ending::ParentEnded));
}

pub(super) fn renewal() -> Renewal {
    Renewal {
        policy: PolicyVersion { name: "p".to_owned(), digest: "2".to_owned() },
        bond: Bond {
            policy_scope: 11,
            params_scope: 12,
            capabilities: Capabilities::USUAL,
            names: false,
        },
        mode: RunMode::Audit,
        on_end: OnEnd::Deny,
        bounds: Bounds { memory: None, tasks: Some(9), cpu: None },
    }
}

fn enclosed(launch: &mut Launch) {
    let bounds = Bounds { memory: None, tasks: Some(5), cpu: None };
    launch.run.enclosure = Some(Enclosure { group: "agentid/agentid-1".into(), bounds });
}

#[test]
fn a_run_is_limited_before_it_has_a_task() {
    let mut state = state();
    let mut limited = launch(1);
    enclosed(&mut limited);
    let effects = launched(&mut state, limited);
    let expected = ["save 1", "attach kill", "occupy 1", "enclose 1", "tag 1", "publish 1"];
    assert_eq!(names(&effects), expected);
    // What comes from elsewhere counts for the runs above; what is delegated is where they are already.
    let effects = launched(&mut state, child(2, 1));
    assert!(names(&effects).contains(&"enclose 2".to_owned()), "{effects:?}");
    let mut delegated = child(3, 2);
    delegated.way = Way::Delegate;
    let effects = launched(&mut state, delegated);
    assert!(!names(&effects).contains(&"enclose 3".to_owned()), "{effects:?}");
    let mut delegated = child(4, 3);
    delegated.way = Way::Delegate;
    enclosed(&mut delegated);
    let effects = launched(&mut state, delegated);
    assert!(names(&effects).contains(&"enclose 4".to_owned()), "{effects:?}");
    let effects = launched(&mut state, launch(5));
    assert!(!names(&effects).contains(&"enclose 5".to_owned()), "{effects:?}");
}

#[test]
fn another_version_limits_where_there_is_a_cgroup_for_it() {
    let mut state = state();
    let mut limited = launch(1);
    enclosed(&mut limited);
    launched(&mut state, limited);
    launched(&mut state, launch(2));
    for number in [1, 2] {
        let input = Input::Renew { id: id(number), renewal: renewal() };
        step(&mut state, input, now(1)).unwrap();
    }
    let bounds = |number| {
        let run = state.registry.get(id(number)).unwrap();
        run.enclosure.as_ref().map(|it| it.bounds.tasks)
    };
    assert_eq!((bounds(1), bounds(2)), (Some(Some(9)), None));
}

#[test]
fn another_version_is_on_disk_before_it_is_in_force() {
    let mut state = state();
    launched(&mut state, launch(1));
    let input = Input::Renew { id: id(1), renewal: renewal() };
    let effects = step(&mut state, input, now(1)).unwrap();
    let expected = ["save 1", "attach descriptors", "bind slot 1 to 11", "publish 1"];
    assert_eq!(names(&effects), expected);
    let run = state.registry.get(id(1)).unwrap();
    assert_eq!(
        (run.policy.digest.as_str(), run.mode, run.on_end),
        ("2", RunMode::Audit, OnEnd::Deny)
    );
}

#[test]
fn what_is_over_gets_no_other_version() {
    let mut state = state();
    launched(&mut state, launch(1));
    step(&mut state, revoke(1), now(1)).unwrap();
    let input = Input::Renew { id: id(1), renewal: renewal() };
    let refusal = step(&mut state, input, now(2)).unwrap_err();
    assert_eq!(refusal, Refusal::Ended { id: id(1), ending: Ending::Revoked });
    assert_ne!(state.registry.get(id(1)).unwrap().policy.digest, "2");
}

#[test]
fn a_second_revocation_is_told_that_the_run_is_over() {
    let mut state = state();
    launched(&mut state, launch(1));
    step(&mut state, revoke(1), now(1)).unwrap();
    let refusal = step(&mut state, revoke(1), now(2)).unwrap_err();
    assert_eq!(refusal, Refusal::Ended { id: id(1), ending: Ending::Revoked });
}

#[test]
fn descriptors_are_held_while_a_run_needs_it_and_no_longer() {
    let mut state = state();
    let demand = |state: &State| Demand::of(&state.registry);
    let none = Demand::default();
    let kill = Demand { kill: true, network: true, ..none };
    let both = Demand { descriptors: true, ..kill };
    assert_eq!(demand(&state), none);
    launched(&mut state, launch(1));
    assert_eq!(demand(&state), kill);
    let mut gentle = launch(2);
    gentle.run.on_end = OnEnd::Deny;
    launched(&mut state, gentle);
    // Its deadline may pass while no daemon lives.
    assert_eq!(demand(&state), both);
    let empty = |slot, generation| Input::Empty { slot, generation, totals: Totals::default() };
    step(&mut state, empty(2, 3), now(1)).unwrap();
    assert_eq!(demand(&state), kill);
    // Its tasks are killed, and gone before anything is attached.
    step(&mut state, revoke(1), now(1)).unwrap();
    assert_eq!(demand(&state), kill);
    let outlasting = || Input::Outlasting(vec![id(1)]);
    let effects = step(&mut state, outlasting(), now(1)).unwrap();
    assert_eq!(names(&effects), ["attach descriptors kill"]);
    assert_eq!(step(&mut state, outlasting(), now(1)).unwrap(), []);
    assert_eq!(demand(&state), both);
    step(&mut state, empty(1, 2), now(1)).unwrap();
    assert_eq!(demand(&state), none);
}

#[test]
fn descriptors_that_are_held_stay_so_when_it_is_killed_after_all() {
    let mut state = state();
    let demand = |state: &State| Demand::of(&state.registry);
    let mut gentle = launch(1);
    gentle.run.on_end = OnEnd::Deny;
    launched(&mut state, gentle);
    step(&mut state, revoke(1), now(1)).unwrap();
    let kill = Input::Revoke { ids: vec![id(1)], kill: true, by: by("all") };
    step(&mut state, kill, now(2)).unwrap();
    assert_eq!(state.registry.get(id(1)).unwrap().on_end, OnEnd::Kill);
    assert!(demand(&state).descriptors);
}

#[test]
fn a_policy_that_denies_at_the_end_stops_nobody() {
    let mut state = state();
    let mut gentle = launch(1);
    gentle.run.on_end = OnEnd::Deny;
    launched(&mut state, gentle);
    let effects = step(&mut state, revoke(1), now(1)).unwrap();
    assert_eq!(names(&effects)[..3], ["deny slot 1 3", "attach descriptors", "stop 1 deny"]);
}

#[test]
fn a_deadline_ends_the_run_at_the_first_tick_after_it() {
    let mut state = state();
    launched(&mut state, launch(1));
    assert_eq!(step(&mut state, Input::Tick, now(99)).unwrap(), []);
    let effects = step(&mut state, Input::Tick, now(100)).unwrap();
    assert_eq!(names(&effects)[0], "deny slot 1 5");
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Stopping(Ending::Expired));
    assert_eq!(step(&mut state, Input::Tick, now(101)).unwrap(), []);
}

#[test]
fn the_last_task_completes_a_run_and_ends_those_below() {
    let mut state = state();
    launched(&mut state, launch(1));
    launched(&mut state, child(2, 1));
    let totals = Totals { started: 4, ..Totals::default() };
    let empty = Input::Empty { slot: 1, generation: 2, totals };
    let effects = step(&mut state, empty, now(1)).unwrap();
    let expected = [
        "clear 1 slot 1",
        "deny slot 2 3",
        "attach kill",
        "stop 2 kill",
        "save 2",
        "publish 2",
        "save 1",
        "publish 1",
    ];
    assert_eq!(names(&effects), expected);
    let run = state.registry.get(id(1)).unwrap();
    assert_eq!(run.phase, Phase::Ended(Ending::Completed));
    assert_eq!(run.end.as_ref().unwrap().totals, Some(totals));
}

#[test]
fn an_old_record_of_an_empty_slot_does_not_end_the_slots_new_run() {
    let mut state = state();
    launched(&mut state, launch(1));
    let stale = Input::Empty { slot: 1, generation: 1, totals: Totals::default() };
    assert_eq!(step(&mut state, stale, now(1)).unwrap(), []);
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Active);
}

#[test]
fn lost_enforcement_stops_every_run_whatever_its_policy_says() {
    let mut state = state();
    let mut gentle = launch(1);
    gentle.run.on_end = OnEnd::Deny;
    launched(&mut state, gentle);
    let off = || Input::Posture(Posture::Off("gone".to_owned()));
    let effects = step(&mut state, off(), now(1)).unwrap();
    let expected = [
        "deny slot 1 3",
        "attach descriptors kill",
        "stop 1 kill",
        "save 1",
        "publish 1",
        "publish",
    ];
    assert_eq!(names(&effects), expected);
    assert_eq!(step(&mut state, off(), now(2)).unwrap(), []);
}

#[test]
fn lost_enforcement_leaves_the_runs_where_the_operator_said_so() {
    let mut state = state();
    state.on_lost = OnLost::Keep;
    launched(&mut state, launch(1));
    let off = Input::Posture(Posture::Off("gone".to_owned()));
    assert_eq!(names(&step(&mut state, off, now(1)).unwrap()), ["publish"]);
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Active);
}

#[test]
fn a_run_stands_only_on_a_live_one_and_not_too_deep() {
    let mut state = state();
    launched(&mut state, launch(1));
    let instance = occupied(&launched(&mut state, child(2, 1)));
    assert_eq!((instance.parent, instance.parent_generation), (1, 2));
    launched(&mut state, child(3, 2));
    launched(&mut state, child(4, 3));
    let deep = step(&mut state, Input::Launch(child(5, 4)), now(0)).unwrap_err();
    assert_eq!(deep, Refusal::Deep { parent: id(4), depth: 4, limit: 4 });
    step(&mut state, revoke(4), now(1)).unwrap();
    let ended = step(&mut state, Input::Launch(child(5, 4)), now(1)).unwrap_err();
    assert_eq!(ended, Refusal::ParentEnded(id(4)));
}

fn by(reason: &str) -> Actor {
    Actor { uid: 7, reason: Some(reason.to_owned()) }
}

#[test]
fn a_suspension_is_one_store_and_kills_nobody() {
    let mut state = state();
    launched(&mut state, launch(1));
    launched(&mut state, child(2, 1));
    let suspend = || Input::Suspend { id: id(1), freeze: true, by: by("look") };
    let effects = step(&mut state, suspend(), now(1)).unwrap();
    let expected = [
        "save 1",
        "freeze 1",
        "deny slot 1 2",
        "attach descriptors kill",
        "freeze 1",
        "save 1",
        "publish 1",
    ];
    assert_eq!(names(&effects), expected);
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Suspended);
    assert_eq!(state.registry.get(id(2)).unwrap().phase, Phase::Active, "the kernel asks both");
    assert_eq!(step(&mut state, suspend(), now(2)).unwrap_err(), Refusal::Suspended(id(1)));
    let refusal = step(&mut state, Input::Launch(child(3, 1)), now(2)).unwrap_err();
    assert_eq!(refusal, Refusal::ParentSuspended(id(1)));
    let resume = || Input::Resume { id: id(1), by: by("seen") };
    let effects = step(&mut state, resume(), now(3)).unwrap();
    assert_eq!(names(&effects), ["save 1", "permit slot 1", "thaw 1", "publish 1"]);
    assert_eq!(step(&mut state, resume(), now(4)).unwrap_err(), Refusal::NotSuspended(id(1)));
    let changes = &state.registry.get(id(1)).unwrap().changes;
    let told: Vec<_> =
        changes.iter().map(|it| (it.what.name(), it.by_uid, it.reason.as_deref())).collect();
    assert_eq!(told, [("suspended", 7, Some("look")), ("resumed", 7, Some("seen"))]);
}

#[test]
fn a_suspension_can_leave_the_tasks_alone_and_outlives_the_daemon_as_it_was() {
    for freeze in [false, true] {
        let mut first = state();
        launched(&mut first, launch(1));
        let suspend = Input::Suspend { id: id(1), freeze, by: by("look") };
        let effects = step(&mut first, suspend, now(1)).unwrap();
        assert_eq!(names(&effects).contains(&"freeze 1".to_owned()), freeze);
        let run = first.registry.get(id(1)).unwrap().clone();
        assert_eq!(run.frozen, freeze);
        let adopt = Input::Adopt { run: Box::new(run), slot_state: SlotState::SUSPENDED };
        let effects = step(&mut state(), adopt, now(2)).unwrap();
        assert_eq!(names(&effects).contains(&"freeze 1".to_owned()), freeze);
    }
}

#[test]
fn who_stood_still_goes_on_though_the_daemon_died_in_the_middle_of_a_resumption() {
    let mut run = launch(1).run;
    run.groups.insert("agentid-1".into());
    let adopt = Input::Adopt { run: Box::new(run), slot_state: SlotState::ACTIVE };
    let effects = step(&mut state(), adopt, now(2)).unwrap();
    assert_eq!(names(&effects).last().unwrap(), "thaw 1");
}

#[test]
fn what_stands_still_at_the_end_is_killed_only_on_demand() {
    let mut state = state();
    let mut frozen = launch(1);
    frozen.run.on_end = OnEnd::Freeze;
    launched(&mut state, frozen);
    let effects = step(&mut state, revoke(1), now(1)).unwrap();
    let expected = ["deny slot 1 3", "attach descriptors", "stop 1 freeze", "save 1", "publish 1"];
    assert_eq!(names(&effects), expected);
    assert!(state.registry.get(id(1)).unwrap().frozen);
    assert!(matches!(step(&mut state, revoke(1), now(2)), Err(Refusal::Ended { .. })));
    let kill = || Input::Revoke { ids: vec![id(1)], kill: true, by: by("enough") };
    let effects = step(&mut state, kill(), now(3)).unwrap();
    assert_eq!(names(&effects), ["attach descriptors kill", "stop 1 kill", "save 1"]);
    assert_eq!(state.registry.get(id(1)).unwrap().on_end, OnEnd::Kill, "for the next daemon too");
    let empty = Input::Empty { slot: 1, generation: 2, totals: Totals::default() };
    step(&mut state, empty, now(4)).unwrap();
    assert!(matches!(step(&mut state, kill(), now(5)), Err(Refusal::Ended { .. })));
}

#[test]
fn what_stands_still_below_is_killed_with_the_run_above() {
    let mut state = state();
    for mut run in [launch(1), child(2, 1), child(3, 2)] {
        run.run.on_end = OnEnd::Freeze;
        launched(&mut state, run);
    }
    step(&mut state, revoke(1), now(1)).unwrap();
    assert_eq!(state.registry.trees(&[id(1)], true), [(id(1), vec![id(2), id(3)])]);
    let kill = Input::Revoke { ids: vec![id(1)], kill: true, by: by("enough") };
    let effects = step(&mut state, kill, now(3)).unwrap();
    let stops = ["stop 1 kill", "stop 2 kill", "stop 3 kill"];
    let saves = ["save 1", "save 2", "save 3"];
    let expected = [&["attach descriptors kill"][..], &stops, &saves].concat();
    assert_eq!(names(&effects), expected);
}

/// A run, and below it two, one below the other, that are over and have tasks, as their policies leave them.
fn one_above_two_that_go_on() -> State {
    let mut state = state();
    launched(&mut state, launch(1));
    for mut run in [child(2, 1), child(3, 2)] {
        run.run.on_end = OnEnd::Deny;
        launched(&mut state, run);
    }
    step(&mut state, revoke(2), now(1)).unwrap();
    state
}

#[test]
fn what_is_over_below_and_goes_on_is_killed_with_the_run_above() {
    let mut state = one_above_two_that_go_on();
    let above = |kill| Input::Revoke { ids: vec![id(1)], kill, by: by("enough") };
    let effects = step(&mut state, above(true), now(2)).unwrap();
    let stops: Vec<String> =
        names(&effects).into_iter().filter(|name| name.starts_with("stop")).collect();
    assert_eq!(stops, ["stop 1 kill", "stop 2 kill", "stop 3 kill"]);
}

#[test]
fn what_goes_on_below_a_run_that_is_gone_is_killed_with_the_one_above() {
    let mut state = one_above_two_that_go_on();
    let place = state.registry.get(id(2)).unwrap().place;
    let (slot, generation) = (place.slot, place.generation);
    step(&mut state, Input::Empty { slot, generation, totals: Totals::default() }, now(2)).unwrap();
    let kill = Input::Revoke { ids: vec![id(1)], kill: true, by: by("enough") };
    let effects = step(&mut state, kill, now(3)).unwrap();
    assert!(names(&effects).contains(&"stop 3 kill".to_owned()), "{:?}", names(&effects));
}

#[test]
fn a_revocation_kills_whatever_the_policy_says_where_it_is_told_to() {
    let mut state = state();
    let mut gentle = launch(1);
    gentle.run.on_end = OnEnd::Deny;
    launched(&mut state, gentle);
    let kill = Input::Revoke { ids: vec![id(1)], kill: true, by: by("enough") };
    let effects = step(&mut state, kill, now(1)).unwrap();
    assert_eq!(names(&effects)[2], "stop 1 kill");
}

#[test]
fn a_suspended_run_ends_like_any_other() {
    let ends = [
        (revoke(1), "deny slot 1 3"),
        (Input::Tick, "deny slot 1 5"),
        (Input::Posture(Posture::Off("gone".to_owned())), "deny slot 1 3"),
        (Input::Empty { slot: 1, generation: 2, totals: Totals::default() }, "clear 1 slot 1"),
    ];
    for (end, first) in ends {
        let mut state = state();
        launched(&mut state, launch(1));
        step(&mut state, Input::Suspend { id: id(1), freeze: true, by: by("x") }, now(1)).unwrap();
        let effects = step(&mut state, end, now(100)).unwrap();
        assert_eq!(names(&effects)[0], first);
        let refusal = step(&mut state, Input::Resume { id: id(1), by: by("x") }, now(101));
        assert!(matches!(refusal.unwrap_err(), Refusal::Ended { .. }));
    }
}

fn extend(number: u64, seconds: u64) -> Input {
    let (by_ms, max_ttl_ms) = (seconds * 1000, 200_000);
    Input::Extend { id: id(number), by_ms, max_ttl_ms, by: by("more") }
}

#[test]
fn an_extension_is_one_store_within_the_policys_bound() {
    let mut state = state();
    launched(&mut state, launch(1));
    let effects = step(&mut state, extend(1, 60), now(1)).unwrap();
    assert_eq!(names(&effects), ["save 1", "prolong slot 1 160", "publish 1"]);
    let refusal = step(&mut state, extend(1, 41), now(2)).unwrap_err();
    assert_eq!(refusal, Refusal::LongExtension { id: id(1), left_ms: 40_000 });
    assert_eq!(state.registry.get(id(1)).unwrap().place.deadline, 160_000_000_000);
    assert_eq!(step(&mut state, extend(1, 0), now(2)).unwrap_err(), Refusal::NoExtension);
    assert_eq!(step(&mut state, extend(1, 1), now(160)).unwrap_err(), Refusal::Late(id(1)));
}

#[test]
fn an_extension_does_not_outlive_the_run_above() {
    let mut state = state();
    launched(&mut state, launch(1));
    launched(&mut state, child(2, 1));
    let refusal = step(&mut state, extend(2, 60), now(1)).unwrap_err();
    assert_eq!(refusal, Refusal::BeyondParent { id: id(2), left_ms: 0 });
    step(&mut state, extend(1, 60), now(1)).unwrap();
    step(&mut state, extend(2, 60), now(1)).unwrap();
}

#[test]
fn a_delegated_run_knows_all_above_it_and_its_process_changes_its_tag() {
    let mut state = state();
    launched(&mut state, launch(1));
    launched(&mut state, child(2, 1));
    let mut delegated = child(3, 2);
    delegated.way = Way::Delegate;
    let effects = launched(&mut state, delegated);
    assert_eq!(names(&effects), ["save 3", "attach kill", "occupy 3", "retag 3", "publish 3"]);
    assert_eq!(state.registry.get(id(3)).unwrap().above, [id(2), id(1)]);
}

#[test]
fn what_has_been_gathered_becomes_a_run_like_any_other() {
    let mut state = state();
    let mut gathered = launch(1);
    gathered.way = Way::Adopt;
    let effects = launched(&mut state, gathered);
    let expected = ["save 1", "attach kill", "occupy 1", "tag gathered 1", "publish 1"];
    assert_eq!(names(&effects), expected);
}

#[test]
fn nothing_is_launched_for_an_owner_who_is_denied() {
    let mut state = state();
    launched(&mut state, launch(1));
    let owner = |denied| Input::Owner { owner: "alice".to_owned(), denied, by: by("left") };
    let effects = step(&mut state, owner(true), now(1)).unwrap();
    assert_eq!(names(&effects), ["save owners", "publish"]);
    let refusal = step(&mut state, Input::Launch(launch(2)), now(1)).unwrap_err();
    let reason = Some("left".to_owned());
    assert_eq!(refusal, Refusal::OwnerDenied { owner: "alice".to_owned(), reason });
    let refusal = step(&mut state, Input::Launch(child(2, 1)), now(1)).unwrap_err();
    assert!(matches!(refusal, Refusal::OwnerDenied { .. }), "nor below a run that lives");
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Active);
    step(&mut state, owner(false), now(2)).unwrap();
    launched(&mut state, launch(2));
    let refusal = step(&mut state, owner(false), now(3)).unwrap_err();
    assert_eq!(refusal, Refusal::OwnerAllowed("alice".to_owned()));
}

#[test]
fn a_child_ends_no_later_than_its_parent() {
    let mut state = state();
    launched(&mut state, launch(1));
    let mut late = child(2, 1);
    late.run.place.deadline += 1;
    let instance = occupied(&launched(&mut state, late));
    assert_eq!(instance.deadline, 100_000_000_000);
    assert_eq!(state.registry.get(id(2)).unwrap().place.deadline, instance.deadline);
}

#[test]
fn several_are_denied_before_any_is_stopped_and_each_ends_by_itself() {
    let mut state = state();
    launched(&mut state, launch(1));
    launched(&mut state, child(2, 1));
    launched(&mut state, launch(3));
    let both = Input::Revoke { ids: vec![id(1), id(2), id(3)], kill: false, by: by("all") };
    let effects = step(&mut state, both, now(1)).unwrap();
    let denials = ["deny slot 1 3", "deny slot 2 3", "deny slot 3 3", "attach kill"];
    assert_eq!(names(&effects)[..4], denials);
    assert_eq!(state.registry.get(id(2)).unwrap().phase, Phase::Stopping(Ending::Revoked));
    launched(&mut state, launch(4));
    let stale = Input::Revoke { ids: vec![id(4), id(1)], kill: false, by: by("all") };
    assert!(step(&mut state, stale, now(2)).is_err(), "one of them is over");
    assert_eq!(state.registry.get(id(4)).unwrap().phase, Phase::Active, "so none is ended");
}

#[test]
fn a_suspension_that_either_side_knows_of_is_taken_up() {
    let both = &["deny slot 5 2", "attach descriptors kill", "rebind 1", "save 1"][..];
    let cases = [
        (Phase::Suspended, SlotState::SUSPENDED, &["attach descriptors kill", "rebind 1"][..]),
        (Phase::Active, SlotState::SUSPENDED, both),
        (Phase::Suspended, SlotState::ACTIVE, both),
    ];
    for (phase, slot_state, expected) in cases {
        let mut state = state();
        let adopt = Input::Adopt { run: saved(phase), slot_state };
        assert_eq!(names(&step(&mut state, adopt, now(1)).unwrap()), expected);
        assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Suspended);
    }
}

fn saved(phase: Phase) -> Box<crate::instance::Run> {
    let mut run = launch(1).run;
    run.place.slot = 5;
    run.phase = phase;
    run.end = phase.ending().map(|ending| End::of(ending, 7));
    Box::new(run)
}

#[test]
fn a_live_run_is_taken_up_with_its_slot() {
    let mut state = state();
    let adopt = Input::Adopt { run: saved(Phase::Active), slot_state: SlotState::ACTIVE };
    assert_eq!(names(&step(&mut state, adopt, now(1)).unwrap()), ["attach kill", "rebind 1"]);
    assert_eq!(state.registry.holder(5, 2).unwrap().id, id(1));
}

#[test]
fn a_run_that_either_side_says_is_over_is_not_taken_up_as_live() {
    let stopping = Phase::Stopping(Ending::Revoked);
    let cases = [
        (Phase::Active, SlotState::REVOKED, Ending::Revoked, "deny slot 5 3"),
        (Phase::Active, SlotState::EXPIRED, Ending::Expired, "deny slot 5 5"),
        (stopping, SlotState::ACTIVE, Ending::Revoked, "deny slot 5 3"),
        (Phase::Ended(Ending::Expired), SlotState::ACTIVE, Ending::Expired, "deny slot 5 5"),
    ];
    for (phase, slot_state, ending, denial) in cases {
        let mut state = state();
        let adopt = Input::Adopt { run: saved(phase), slot_state };
        let effects = step(&mut state, adopt, now(1)).unwrap();
        let mut expected = vec![denial, "attach kill", "stop 1 kill", "save 1"];
        // What the daemon before knew it has told.
        expected.extend((phase == Phase::Active).then_some("publish 1"));
        assert_eq!(names(&effects), expected);
        assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Stopping(ending));
    }
}

#[test]
fn a_run_whose_slot_is_gone_is_lost_at_boot_unless_it_was_over() {
    let mut state = state();
    let effects = step(&mut state, Input::Lost(saved(Phase::Active)), now(1)).unwrap();
    assert_eq!(names(&effects), ["save 1", "publish 1"]);
    let run = state.registry.get(id(1)).unwrap();
    assert_eq!(run.phase, Phase::Ended(Ending::LostAtBoot));
    assert_eq!(run.end.as_ref().unwrap().at_ms, now(1).wall_ms);

    let mut state = super::state();
    let over = saved(Phase::Stopping(Ending::Revoked));
    step(&mut state, Input::Lost(over), now(1)).unwrap();
    assert_eq!(state.registry.get(id(1)).unwrap().phase, Phase::Ended(Ending::Revoked));
}
