//! What happens next: the state, what comes in, and what is to be done about it. Pure.
//!
//! The order of the effects is part of the answer. On every ending the kernel's table is told first, by one store for
//! each run; only then is attached what those are held by who go on, tasks are stopped, files written and readers told.

mod end;
mod hold;
mod launch;
mod owner;
mod renew;
mod take_up;

use agentid_common::instance::{Instance, State as SlotState};
use uuid::Uuid;

use super::{refusal::Refusal, rules::Bond};
use crate::{
    event::event::What,
    image::SlotRules,
    instance::{
        Bounds, Demand, DeniedOwners, Ending, Former, Posture, Registry, Run,
        run::{OnEnd, PolicyVersion, RunMode, Totals},
    },
};

/// What happens to live runs when the host is found not to enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// All are stopped.
    Kill,
    /// They go on, unheld; only new launches are refused.
    Keep,
}

/// All that the supervisor decides upon.
#[derive(Debug)]
pub struct State {
    pub registry: Registry,
    pub denied: DeniedOwners,
    pub posture: Posture,
    pub on_lost: OnLost,
    pub slots: u32,
    /// How many runs of one user, root aside, live at once.
    pub per_user: usize,
}

/// The moment of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// A run whose request, process and rules have been checked. Its slot is still to be chosen.
    Launch(Box<Launch>),
    /// The kernel did not take the run after all. One that has a task by then ends with it.
    LaunchFailed { id: Uuid, tagged: bool },
    /// Somebody who may do so ends runs. Each of them has not ended, or none of them is. With `kill` their tasks, and those of
    /// runs that are over already, are killed whatever their policies say.
    Revoke { ids: Vec<Uuid>, kill: bool, by: Actor },
    /// A run has gone beyond a limit of its policy.
    Limit { id: Uuid, ending: Ending, reason: String },
    /// Somebody who may do so takes a run's rights away for a time, and has its tasks stand still or not.
    Suspend { id: Uuid, freeze: bool, by: Actor },
    /// Somebody who may do so gives them back.
    Resume { id: Uuid, by: Actor },
    /// Somebody who may do so moves a run's deadline. `max_ttl_ms` is the policy's.
    Extend { id: Uuid, by_ms: u64, max_ttl_ms: u64, by: Actor },
    /// Another version of its policy is in force, and its rules are in the tables.
    Renew { id: Uuid, renewal: Renewal },
    /// Other mounts are there, and the run's rules are in the tables as they lie on those.
    Rebound { id: Uuid, bond: Bond },
    /// An operator has nothing launched for an owner any more, or has it again.
    Owner { owner: String, denied: bool, by: Actor },
    /// Time has passed.
    Tick,
    /// The last task of a run is gone.
    Empty { slot: u32, generation: u64, totals: Totals },
    /// These runs are over, and their tasks were killed and are not gone.
    Outlasting(Vec<Uuid>),
    /// The canary has reported.
    Posture(Posture),
    /// A run of an earlier daemon that has its slot still.
    Adopt { run: Box<Run>, slot_state: SlotState },
    /// Records of runs that had ended by this moment, in milliseconds since 1970, need not be kept.
    Tidy { by_ms: u64 },
    /// A run of an earlier daemon whose slot is not held any more.
    Lost(Box<Run>),
    /// A run of an earlier daemon that has ended.
    Remember(Box<Run>),
}

/// Who wants it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub uid: u32,
    pub reason: Option<String>,
}

/// A run about to start. `run.place.slot` is chosen by [`step`].
#[derive(Clone, Debug)]
pub struct Launch {
    pub run: Run,
    pub bond: Bond,
    pub way: Way,
}

/// How tasks come into a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The asking process becomes its first one.
    Launch,
    /// The same, and it belongs to the run above already.
    Delegate,
    /// Processes that run already have been gathered.
    Adopt,
}

/// A version of a policy as one run is bound to it.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub policy: PolicyVersion,
    pub bond: Bond,
    pub mode: RunMode,
    pub on_end: OnEnd,
    /// What it may use, where it has a cgroup for that.
    pub bounds: Bounds,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Keep the run's facts for the next daemon.
    Save(Uuid),
    /// Keep for the next daemon for whom nothing is launched.
    SaveOwners,
    /// Forget runs that ended long ago.
    Forget(Vec<Former>),
    /// Have the programs attached that the runs need, and every process of the host pays for.
    Attach(Demand),
    /// Give the run its slot in the kernel's table.
    Occupy { id: Uuid, instance: Instance },
    /// Move the asking process into the cgroup that limits the run.
    Enclose(Uuid),
    /// Mark the asking process with the run's tag.
    Tag(Uuid),
    /// Mark the asking process, which carries the tag of the run above, with the run's own tag instead.
    Retag(Uuid),
    /// Mark all tasks that have been gathered.
    TagGathered(Uuid),
    /// Give an adopted run freshly compiled rules.
    Rebind(Uuid),
    /// One write to the slot of a run that goes on: other rules hold it from its next operation on.
    Bind { id: Uuid, slot: u32, rules: SlotRules },
    /// One store to the slot: the kernel denies the run everything.
    Deny { slot: u32, state: SlotState },
    /// One store to the slot: the kernel asks the run's rules again.
    Permit { slot: u32 },
    /// One store to the slot: the run ends later.
    Prolong { slot: u32, deadline: u64 },
    /// Stop the run's tasks, and watch until none is left.
    Stop { id: Uuid, how: OnEnd },
    /// Have the tasks of the run, and of all below it, stand still.
    Freeze(Uuid),
    /// Let them go on.
    Thaw(Uuid),
    /// Empty the slot and let go of what the run alone needed.
    Clear { id: Uuid, slot: u32 },
    /// Tell those who follow.
    Publish { id: Option<Uuid>, what: What },
}

/// What is to be done about runs that are not known any more, if there are any.
fn forget(former: Vec<Former>) -> Option<Effect> {
    (!former.is_empty()).then_some(Effect::Forget(former))
}

/// Takes one input in. A refusal leaves the state as it was.
pub fn step(state: &mut State, input: Input, now: Now) -> Result<Vec<Effect>, Refusal> {
    match input {
        Input::Launch(launch) => state.launch(*launch, now),
        Input::LaunchFailed { id, tagged } => Ok(state.launch_failed(id, tagged, now)),
        Input::Revoke { ids, kill, by } => state.revoke(&ids, kill, &by, now),
        Input::Limit { id, ending, reason } => Ok(state.limit(id, ending, reason, now)),
        Input::Suspend { id, freeze, by } => state.suspend(id, freeze, by, now),
        Input::Resume { id, by } => state.resume(id, by, now),
        Input::Extend { id, by_ms, max_ttl_ms, by } => state.extend(id, by_ms, max_ttl_ms, by, now),
        Input::Renew { id, renewal } => state.renew(id, renewal),
        Input::Rebound { id, bond } => state.rebound(id, bond),
        Input::Owner { owner, denied, by } => state.owner(owner, denied, by, now),
        Input::Tick => Ok(state.expire(now)),
        Input::Empty { slot, generation, totals } => {
            let id = state.registry.holder(slot, generation).map(|run| run.id);
            Ok(id
                .map_or_else(Vec::new, |id| state.finish(id, Ending::Completed, Some(totals), now)))
        }
        Input::Outlasting(ids) => Ok(state.outlasting(&ids)),
        Input::Posture(posture) => Ok(state.posture(posture, now)),
        Input::Adopt { run, slot_state } => Ok(state.adopt(*run, slot_state, now)),
        Input::Tidy { by_ms } => {
            let forgotten = state.registry.forget_ended_by(by_ms);
            Ok(forget(forgotten).into_iter().collect())
        }
        Input::Lost(run) => Ok(state.lost(*run, now)),
        Input::Remember(run) => Ok(state.remember(*run)),
    }
}
