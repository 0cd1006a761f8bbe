//! Whatever comes in, in whatever order, the registry and the kernel's table agree.

use std::collections::{BTreeMap, HashSet};

use agentid_common::instance::{Instance, State as SlotState};
use proptest::prelude::*;
use uuid::Uuid;

use super::{child, id, launch, now, state, step::renewal};
use crate::{
    instance::{
        Demand, Phase, Place, Posture, Run,
        run::{OnEnd, Totals},
    },
    supervisor::step::{Actor, Effect, Input, Renewal, State, Way, step},
};

#[derive(Clone, Debug)]
enum Move {
    Launch {
        parent: Option<u64>,
        way: Way,
    },
    LaunchFailed(u64),
    /// `kill`: their tasks are killed, also those of runs that are over already.
    Revoke {
        runs: Vec<u64>,
        kill: bool,
    },
    Outlasting(Vec<u64>),
    Limit(u64),
    Suspend(u64),
    Resume(u64),
    Extend(u64, u64),
    Renew(u64, OnEnd),
    Rebound(u64),
    Owner {
        denied: bool,
    },
    /// What ended so long ago is forgotten.
    Tidy(u64),
    /// The daemon dies and another one takes up what it finds. `written`: whether it had saved its last change.
    Restart {
        written: bool,
    },
    Empty(u64),
    /// The last task of a run is gone that had the slot of this one before.
    EmptyBefore(u64),
    Wait(u64),
    Posture(bool),
}

fn any_move() -> impl Strategy<Value = Move> {
    let which = || 0..12_u64;
    prop_oneof![
        4 => (prop::option::of(which()), way()).prop_map(|(parent, way)| Move::Launch { parent, way }),
        1 => which().prop_map(Move::LaunchFailed),
        2 => (prop::collection::vec(which(), 1..4), any::<bool>())
            .prop_map(|(runs, kill)| Move::Revoke { runs, kill }),
        1 => prop::collection::vec(which(), 1..4).prop_map(Move::Outlasting),
        1 => which().prop_map(Move::Limit),
        2 => which().prop_map(Move::Suspend),
        2 => which().prop_map(Move::Resume),
        2 => (which(), 0..80_u64).prop_map(|(run, by)| Move::Extend(run, by)),
        1 => (which(), on_end()).prop_map(|(run, on_end)| Move::Renew(run, on_end)),
        1 => which().prop_map(Move::Rebound),
        1 => any::<bool>().prop_map(|denied| Move::Owner { denied }),
        1 => (0..60_u64).prop_map(Move::Tidy),
        1 => any::<bool>().prop_map(|written| Move::Restart { written }),
        3 => which().prop_map(Move::Empty),
        1 => which().prop_map(Move::EmptyBefore),
        1 => (0..60_u64).prop_map(Move::Wait),
        1 => any::<bool>().prop_map(Move::Posture),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Launch), Just(Way::Delegate), Just(Way::Adopt)]
}

fn on_end() -> impl Strategy<Value = OnEnd> {
    prop_oneof![Just(OnEnd::Deny), Just(OnEnd::Freeze), Just(OnEnd::Kill)]
}

/// The kernel's table, as the effects write it: generation, state, deadline.
type Table = BTreeMap<u32, (u64, SlotState, u64)>;

/// What the kernel and the disk know.
#[derive(Default)]
struct World {
    table: Table,
    files: BTreeMap<Uuid, Run>,
    /// Generations that have been denied for good, and those whose slot was cleared.
    over: HashSet<u64>,
    cleared: HashSet<u64>,
    /// Generations that have a task.
    tasks: HashSet<u64>,
}

fn write(world: &mut World, state: &State, effects: &[Effect]) {
    let World { table, files, over, cleared, tasks } = world;
    for effect in effects {
        match effect {
            Effect::Occupy { instance, id } => {
                let slot = state.registry.get(*id).unwrap().place.slot;
                let Instance { generation, state, deadline, .. } = *instance;
                let before = table.insert(slot, (generation, state, deadline));
                assert_eq!(before, None, "slot {slot} is given twice");
                assert!(!over.contains(&generation), "generation {generation} lives twice");
            }
            Effect::Tag(id) | Effect::Retag(id) | Effect::TagGathered(id) => {
                tasks.insert(state.registry.get(*id).unwrap().place.generation);
            }
            Effect::Deny { slot, state } => {
                assert_ne!(*state, SlotState::ACTIVE);
                let held = table.get_mut(slot).expect("only a held slot is denied");
                held.1 = *state;
                if *state == SlotState::SUSPENDED {
                    assert!(!over.contains(&held.0), "what is over is not suspended");
                } else {
                    over.insert(held.0);
                }
            }
            Effect::Bind { slot, .. } => {
                let held = table.get(slot).expect("only a held slot is given other rules");
                assert!(!over.contains(&held.0), "an ended run is given other rules");
            }
            Effect::Permit { slot } => {
                let held = table.get_mut(slot).expect("only a held slot is permitted");
                assert!(!over.contains(&held.0), "an ended run is revived");
                held.1 = SlotState::ACTIVE;
            }
            Effect::Prolong { slot, deadline } => {
                let held = table.get_mut(slot).expect("only a held slot is prolonged");
                assert!(!over.contains(&held.0), "an ended run is prolonged");
                assert!(*deadline > held.2, "a deadline comes nearer");
                held.2 = *deadline;
            }
            Effect::Rebind(id) => {
                let run = state.registry.get(*id).unwrap();
                let held = table.get_mut(&run.place.slot).unwrap();
                (held.1, held.2) = (run.phase.slot_state(), run.place.deadline);
            }
            Effect::Clear { slot, .. } => {
                let (generation, ..) = table.remove(slot).expect("only a held slot is cleared");
                assert!(!tasks.contains(&generation), "a slot with live tasks is freed");
                over.insert(generation);
                cleared.insert(generation);
            }
            Effect::Save(id) => {
                files.insert(*id, state.registry.get(*id).unwrap().clone());
            }
            Effect::Forget(former) => former.iter().for_each(|it| drop(files.remove(&it.id))),
            Effect::Attach(_)
            | Effect::SaveOwners
            | Effect::Stop { .. }
            | Effect::Enclose(_)
            | Effect::Freeze(_)
            | Effect::Thaw(_)
            | Effect::Publish { .. } => {}
        }
    }
}

fn agree(state: &State, world: &World) {
    for run in state.registry.all() {
        let held = world.table.get(&run.place.slot);
        let held = held.filter(|(generation, ..)| *generation == run.place.generation);
        let (state_held, deadline) = (held.map(|held| held.1), held.map(|held| held.2));
        match run.phase {
            Phase::Active | Phase::Suspended => {
                assert_eq!(state_held, Some(run.phase.slot_state()));
                assert_eq!(deadline, Some(run.place.deadline));
                assert!(!world.over.contains(&run.place.generation), "a run is revived");
                let parent = run.parent.and_then(|parent| state.registry.get(parent));
                assert!(parent.is_none_or(|parent| parent.phase.is_live()));
            }
            Phase::Stopping(ending) => assert_eq!(state_held, Some(ending.slot_state())),
            Phase::Ended(_) => assert_eq!(held, None),
        }
    }
    assert_eq!(state.registry.live().count(), world.table.len());
    let demand = Demand::of(&state.registry);
    let needs = |what: fn(Demand) -> bool| {
        assert_eq!(what(demand), state.registry.live().map(Demand::of_run).any(what));
    };
    needs(|it| it.descriptors);
    needs(|it| it.kill);
    needs(|it| it.network);
    needs(|it| it.names);
}

/// Another daemon, with what the kernel and the disk hold.
fn restart(world: &mut World, clock: u64) -> State {
    let mut state = state();
    let files: Vec<Run> = world.files.values().cloned().collect();
    for run in files {
        let held = world.table.get(&run.place.slot);
        let held = held.filter(|(generation, ..)| *generation == run.place.generation);
        let run = Box::new(run);
        let input = match held {
            Some((_, slot_state, _)) => Input::Adopt { run, slot_state: *slot_state },
            None if run.phase.holds_slot() => Input::Lost(run),
            None => Input::Remember(run),
        };
        let effects = step(&mut state, input, now(clock)).unwrap();
        write(world, &state, &effects);
    }
    state
}

/// No task is stopped before the table has denied its run, and nothing is attached before all are denied that are to be.
fn denied_before_stopped(state: &State, world: &World, effects: &[Effect]) {
    let mut denied = HashSet::new();
    let mut attached = None;
    for effect in effects {
        match effect {
            Effect::Deny { slot, .. } => {
                assert_eq!(attached, None);
                denied.insert(*slot);
            }
            Effect::Attach(demand) => attached = Some(*demand),
            Effect::Stop { id, how } => {
                let Demand { descriptors, kill, .. } = attached.unwrap();
                assert!(if *how == OnEnd::Kill { kill } else { descriptors });
                let Place { slot, generation, .. } = state.registry.get(*id).unwrap().place;
                assert!(denied.contains(&slot) || world.over.contains(&generation));
            }
            _ => {}
        }
    }
}

fn nobody() -> Actor {
    Actor { uid: 0, reason: None }
}

proptest! {
    #[test]
    fn the_registry_and_the_table_agree(moves in prop::collection::vec(any_move(), 1..80)) {
        let mut state = state();
        let mut world = World::default();
        let mut clock = 0;
        let mut launched = 0;
        let mut generations = HashSet::new();
        for step_taken in moves {
            let input = match step_taken {
                Move::Launch { parent, way } => {
                    launched += 1;
                    let mut launch = match parent {
                        Some(parent) => child(launched, parent),
                        None => launch(launched),
                    };
                    // Nobody is delegated to without a run above.
                    launch.way = if way == Way::Delegate && parent.is_none() { Way::Launch } else { way };
                    launch.run.on_end = if launched % 3 == 0 { OnEnd::Deny } else { OnEnd::Kill };
                    launch.run.names = launched % 5 == 0;
                    launch.run.place.deadline += clock * 1_000_000_000;
                    prop_assert!(generations.insert(launch.run.place.generation));
                    Input::Launch(launch)
                }
                // One that has a task keeps its slot until that is killed, as any run does.
                Move::LaunchFailed(number) => {
                    let run = state.registry.get(id(number));
                    let generation = run.map_or(0, |run| run.place.generation);
                    Input::LaunchFailed {
                        id: id(number),
                        tagged: world.tasks.contains(&generation),
                    }
                }
                Move::Revoke { runs, kill } => {
                    Input::Revoke { ids: runs.into_iter().map(id).collect(), kill, by: nobody() }
                }
                Move::Outlasting(numbers) => {
                    Input::Outlasting(numbers.into_iter().map(id).collect())
                }
                Move::Limit(number) => Input::Limit {
                    id: id(number),
                    ending: crate::instance::Ending::Tripwire,
                    reason: String::new(),
                },
                Move::Suspend(number) => Input::Suspend { id: id(number), freeze: true, by: nobody() },
                Move::Resume(number) => Input::Resume { id: id(number), by: nobody() },
                Move::Extend(number, seconds) => Input::Extend {
                    id: id(number),
                    by_ms: seconds * 1000,
                    max_ttl_ms: 200_000,
                    by: nobody(),
                },
                Move::Renew(number, on_end) => {
                    Input::Renew { id: id(number), renewal: Renewal { on_end, ..renewal() } }
                }
                Move::Rebound(number) => Input::Rebound { id: id(number), bond: renewal().bond },
                Move::Owner { denied } => {
                    Input::Owner { owner: "alice".to_owned(), denied, by: nobody() }
                }
                Move::Tidy(seconds) => {
                    Input::Tidy { by_ms: now(clock).wall_ms.saturating_sub(seconds * 1000) }
                }
                Move::Restart { written } => {
                    if written {
                        let all = state.registry.all().cloned();
                        world.files.extend(all.map(|run| (run.id, run)));
                    }
                    state = restart(&mut world, clock);
                    agree(&state, &world);
                    continue;
                }
                Move::Empty(number) => match state.registry.get(id(number)) {
                    Some(run) => {
                        let Place { slot, generation, .. } = run.place;
                        world.tasks.remove(&generation);
                        Input::Empty { slot, generation, totals: Totals::default() }
                    }
                    None => Input::Tick,
                },
                Move::EmptyBefore(number) => match state.registry.get(id(number)) {
                    Some(run) => {
                        let Place { slot, generation, .. } = run.place;
                        Input::Empty { slot, generation: generation - 1, totals: Totals::default() }
                    }
                    None => Input::Tick,
                },
                Move::Wait(seconds) => {
                    clock += seconds;
                    Input::Tick
                }
                Move::Posture(true) => Input::Posture(Posture::Enforcing),
                Move::Posture(false) => Input::Posture(Posture::Off("gone".to_owned())),
            };
            let before = state.registry.all().cloned().collect::<Vec<_>>();
            match step(&mut state, input, now(clock)) {
                Ok(effects) => {
                    denied_before_stopped(&state, &world, &effects);
                    write(&mut world, &state, &effects);
                }
                Err(_) => prop_assert!(state.registry.all().eq(&before), "a refusal changes"),
            }
            agree(&state, &world);
        }
    }
}
