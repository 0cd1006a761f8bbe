//! Taking up what an earlier daemon has left: its runs in the kernel, its files.

use agentid_common::{
    instance::{Instance, State as SlotState},
    map::CANARY_SLOT,
    tag::InvocationId,
};
use thiserror::Error;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{super::folder::Text, RunError, Supervisor, binding::BindingError};
use crate::{
    image::MapOp,
    instance::{
        Ending, Phase, Place, Run,
        run::{self, End, OnEnd, PolicyVersion, RunMode},
    },
    kernel::{ApplyError, Held, Kernel},
    policy::{self, Policy},
    supervisor::{
        rules::Release,
        step::Input,
        store::{self, StoreError},
    },
};

/// Why an adopted run cannot have its rules again.
#[derive(Debug, Error)]
pub(super) enum RebindError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("understand policy {0}, which an earlier daemon has understood")]
    Policy(PolicyVersion),
    #[error(transparent)]
    Binding(#[from] BindingError),
    #[error("point its slot at its rules")]
    Apply(#[from] ApplyError),
}

/// What is known of a run at a start.
pub(super) struct TakenUp {
    pub input: Input,
    /// Its slot, unless the run has none, or the slot no file.
    pub instance: Option<Instance>,
}

/// Brings files and slots together.
pub(super) fn pair(known: Vec<Run>, held: Vec<Held>, now_ms: u64) -> Vec<TakenUp> {
    let mut held: Vec<Held> = held
        .into_iter()
        .filter(|held| held.slot != CANARY_SLOT && held.instance.state != SlotState::FREE)
        .collect();
    let mut pairs = Vec::new();
    for run in known {
        let place = held.iter().position(|held| is_of(held, &run));
        let run = Box::new(run);
        pairs.push(match place.map(|place| held.swap_remove(place).instance) {
            Some(instance) => {
                let input = Input::Adopt { run, slot_state: instance.state };
                TakenUp { input, instance: Some(instance) }
            }
            None if run.phase.holds_slot() => {
                warn!(id = %run.id, "a run has not outlived the kernel");
                TakenUp { input: Input::Lost(run), instance: None }
            }
            None => TakenUp { input: Input::Remember(run), instance: None },
        });
    }
    pairs.extend(held.into_iter().map(|Held { slot, instance, .. }| {
        error!(slot, "a slot is held by a run without a state file; it is ended");
        let run = Box::new(stranger(slot, &instance, now_ms));
        TakenUp { input: Input::Adopt { run, slot_state: instance.state }, instance: None }
    }));
    pairs
}

impl Supervisor {
    /// Makes the policies those that new runs get.
    pub(super) fn offer(&mut self, policies: Vec<Text>) {
        for (policy, text) in policies {
            let version = version(&policy, &text);
            self.rules.load(version.clone(), policy, text);
            self.rules.offer(version);
        }
    }

    /// Takes the runs up, gives every live run fresh rules, and then takes the old rules back.
    pub(super) fn adopt(
        &mut self,
        known: Vec<Run>,
        held: Vec<Held>,
        leftover: Release,
    ) -> Result<(), RunError> {
        for TakenUp { input, instance } in pair(known, held, self.now().wall_ms) {
            if let (Input::Adopt { run, .. }, Some(instance)) = (&input, instance) {
                info!(id = %run.id, phase = run.phase.name(), "taking up a run");
                self.adopted.insert(run.id, instance);
            }
            self.input(input);
        }
        self.find_groups();
        self.adopted.clear();
        // Every run has its new rules. No hook may still be under way with the old ones when they go.
        self.apply(&[MapOp::Synchronize]).map_err(RunError::Adopt)?;
        self.take_back(leftover).map_err(RunError::Adopt)
    }

    /// Cgroups of runs that are over, or that were not launched after all: the daemon may have died in between.
    fn find_groups(&mut self) {
        let registry = &self.state.registry;
        let holds = |id| registry.get(id).is_some_and(|run: &Run| run.phase.holds_slot());
        let left = |name: &str| run::of_group(name).is_some_and(|id| !holds(id));
        self.groups_left.extend(Kernel::groups(left));
    }

    /// Compiles an adopted run's own policy version anew, and points its slot at the result with one write.
    pub(super) fn rebind(&mut self, id: Uuid) -> Result<(), RebindError> {
        let (Some(run), Some(instance)) =
            (self.state.registry.get(id).cloned(), self.adopted.get(&id).copied())
        else {
            return Ok(());
        };
        if self.rules.document(&run.policy).is_none() {
            let text = self.store.policy(&run.policy)?;
            let policy = policy::parse(&run.policy.to_string(), &text)
                .map_err(|_| RebindError::Policy(run.policy.clone()))?;
            self.rules.load(run.policy.clone(), policy, text);
        }
        let before = instance.params;
        let bond = self.bind(id, &run.policy, &run.params)?;
        self.adopt_names(id, &run.policy, before);
        self.carry_names(id, &run.policy, before, bond.params_scope);
        let instance = Instance {
            capabilities: bond.capabilities,
            names: u32::from(bond.names),
            state: run.phase.slot_state(),
            deadline: run.place.deadline,
            ..instance
        };
        let instance = instance.bound_to(bond.policy_scope, bond.params_scope);
        self.apply(&[MapOp::SetInstance(run.place.slot, instance)])?;
        Ok(())
    }
}

/// The version of a policy that is bound by its text.
fn version(policy: &Policy, text: &str) -> PolicyVersion {
    PolicyVersion { name: policy.name().to_owned(), digest: store::digest(text) }
}

fn is_of(held: &Held, run: &Run) -> bool {
    held.slot == run.place.slot
        && held.instance.generation == run.place.generation
        && held.instance.invocation == InvocationId(run.id.into_bytes())
}

/// A run of which nothing is known but its slot, and which is ended for that.
fn stranger(slot: u32, instance: &Instance, at_ms: u64) -> Run {
    let unknown = || "unknown".to_owned();
    let reason = Some("its state file is missing".to_owned());
    Run {
        id: Uuid::from_bytes(instance.invocation.0),
        agent: unknown(),
        owner: unknown(),
        task: unknown(),
        purpose: None,
        on_behalf_of: None,
        labels: Default::default(),
        policy: PolicyVersion { name: unknown(), digest: String::new() },
        params: Default::default(),
        given: Default::default(),
        mode: RunMode::Enforce,
        on_end: OnEnd::Kill,
        names: false,
        parent: None,
        above: Vec::new(),
        command: Vec::new(),
        uid: 0,
        tgid: 0,
        issued_by: None,
        place: Place { slot, generation: instance.generation, deadline: instance.deadline },
        launched_ms: at_ms,
        launched_ns: 0,
        phase: Phase::Stopping(Ending::Revoked),
        account: None,
        frozen: false,
        held_by: None,
        outlasts: false,
        groups: Default::default(),
        enclosure: None,
        changes: Vec::new(),
        end: Some(End { reason, ..End::of(Ending::Revoked, at_ms) }),
    }
}
