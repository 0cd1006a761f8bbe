mod diff;
mod expect;
mod explain;
mod grant;
mod launch;
mod life;
mod moving;
mod random;
mod refusal;
mod select;
mod step;
mod store;
mod why;

use std::collections::BTreeMap;

use agentid_common::capability::Capabilities;
use uuid::Uuid;

use super::{
    rules::Bond,
    step::{Launch, Now, OnLost, State, Way},
};
use crate::instance::{
    Phase, Place, Posture, Registry, Run,
    run::{OnEnd, PolicyVersion, RunMode},
};

const SLOTS: u32 = 8;

fn state() -> State {
    State {
        registry: Registry::new(SLOTS, 100),
        denied: Default::default(),
        posture: Posture::Enforcing,
        on_lost: OnLost::Kill,
        slots: SLOTS,
        per_user: 100,
    }
}

fn now(seconds: u64) -> Now {
    Now { boot_ns: seconds * 1_000_000_000, wall_ms: 1_000_000 + seconds * 1000 }
}

fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number) + 0x1000)
}

/// A run with an ID and a generation of its own, which lives for a hundred seconds.
fn launch(number: u64) -> Box<Launch> {
    let run = Run {
        id: id(number),
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        purpose: None,
        on_behalf_of: None,
        labels: BTreeMap::new(),
        policy: PolicyVersion { name: "p".to_owned(), digest: "0".to_owned() },
        params: BTreeMap::new(),
        given: BTreeMap::new(),
        mode: RunMode::Enforce,
        on_end: OnEnd::Kill,
        names: false,
        parent: None,
        above: Vec::new(),
        command: vec!["true".to_owned()],
        uid: 1000,
        tgid: 10,
        issued_by: None,
        place: Place { slot: 0, generation: number + 1, deadline: 100_000_000_000 },
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
    };
    let bond =
        Bond { policy_scope: 1, params_scope: 2, capabilities: Capabilities::USUAL, names: false };
    Box::new(Launch { run, bond, way: Way::Launch })
}

fn child(number: u64, parent: u64) -> Box<Launch> {
    let mut launch = launch(number);
    launch.run.parent = Some(id(parent));
    launch
}
