//! Whatever comes in, in whatever order, the registry and the kernel's table agree.

use std::collections::{BTreeMap, HashSet};

use agentid_common::instance::State as SlotState;
use proptest::prelude::*;

use super::{child, id, launch, now, state};
use crate::{
    instance::{Phase, Posture, run::Totals},
    supervisor::step::{Effect, Input, State, step},
};

#[derive(Clone, Debug)]
enum Move {
    Launch { parent: Option<u64> },
    LaunchFailed(u64),
    Revoke(u64),
    Empty(u64),
    Wait(u64),
    Posture(bool),
}

fn any_move() -> impl Strategy<Value = Move> {
    let which = || 0..12_u64;
    prop_oneof![
        4 => prop::option::of(which()).prop_map(|parent| Move::Launch { parent }),
        1 => which().prop_map(Move::LaunchFailed),
        2 => which().prop_map(Move::Revoke),
        3 => which().prop_map(Move::Empty),
        1 => (0..60_u64).prop_map(Move::Wait),
        1 => any::<bool>().prop_map(Move::Posture),
    ]
}

/// The kernel's table, as the effects write it.
type Table = BTreeMap<u32, (u64, SlotState)>;

fn write(table: &mut Table, state: &State, effects: &[Effect]) {
    for effect in effects {
        match effect {
            Effect::Occupy { instance, id } => {
                let slot = state.registry.get(*id).unwrap().place.slot;
                let before = table.insert(slot, (instance.generation, instance.state));
                assert_eq!(before, None, "slot {slot} is given twice");
            }
            Effect::Deny { slot, state } => {
                assert_ne!(*state, SlotState::ACTIVE);
                table.get_mut(slot).expect("only a held slot is denied").1 = *state;
            }
            Effect::Clear { slot, .. } => drop(table.remove(slot)),
            _ => {}
        }
    }
}

fn agree(state: &State, table: &Table) {
    for run in state.registry.all() {
        let held = table.get(&run.place.slot).filter(|(held, _)| *held == run.place.generation);
        match run.phase {
            Phase::Active => {
                assert_eq!(held.map(|(_, state)| *state), Some(SlotState::ACTIVE));
                let parent = run.parent.and_then(|parent| state.registry.get(parent));
                assert!(parent.is_none_or(|parent| parent.phase == Phase::Active));
            }
            Phase::Stopping(ending) => {
                assert_eq!(held.map(|(_, state)| *state), Some(ending.slot_state()));
            }
            Phase::Ended(_) => assert_eq!(held, None),
        }
    }
    assert_eq!(state.registry.live().count(), table.len());
}

/// No task is stopped before the table has denied its run, and nothing is attached before all are denied that are to be.
fn denied_before_stopped(state: &State, effects: &[Effect]) {
    let mut denied = HashSet::new();
    let mut held = false;
    for effect in effects {
        match effect {
            Effect::Deny { slot, .. } => {
                assert!(!held);
                denied.insert(*slot);
            }
            Effect::Attach(demand) => held = demand.descriptors,
            Effect::Stop { id, .. } => {
                assert!(held);
                assert!(denied.contains(&state.registry.get(*id).unwrap().place.slot));
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn the_registry_and_the_table_agree(moves in prop::collection::vec(any_move(), 1..80)) {
        let mut state = state();
        let mut table = Table::new();
        let mut clock = 0;
        let mut launched = 0;
        let mut generations = HashSet::new();
        for step_taken in moves {
            let input = match step_taken {
                Move::Launch { parent } => {
                    launched += 1;
                    let mut launch = match parent {
                        Some(parent) => child(launched, parent),
                        None => launch(launched),
                    };
                    launch.run.place.deadline += clock * 1_000_000_000;
                    prop_assert!(generations.insert(launch.run.place.generation));
                    Input::Launch(launch)
                }
                Move::LaunchFailed(number) => Input::LaunchFailed(id(number)),
                Move::Revoke(number) => {
                    Input::Revoke { id: id(number), by_uid: 0, reason: None }
                }
                Move::Empty(number) => match state.registry.get(id(number)) {
                    Some(run) => Input::Empty {
                        slot: run.place.slot,
                        generation: run.place.generation,
                        totals: Totals::default(),
                    },
                    None => Input::Tick,
                },
                Move::Wait(seconds) => {
                    clock += seconds;
                    Input::Tick
                }
                Move::Posture(true) => Input::Posture(Posture::Enforcing),
                Move::Posture(false) => Input::Posture(Posture::Off("gone".to_owned())),
            };
            let before = state.registry.all().count();
            match step(&mut state, input, now(clock)) {
                Ok(effects) => {
                    denied_before_stopped(&state, &effects);
                    write(&mut table, &state, &effects);
                }
                Err(_) => prop_assert_eq!(state.registry.all().count(), before),
            }
            agree(&state, &table);
        }
    }
}
