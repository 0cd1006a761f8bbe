//! What happens next: the state, what comes in, and what is to be done about it. Pure.
//!
//! The order of the effects is part of the answer. On every ending the kernel's table is told first, by one store for
//! each run; only then is attached what their descriptors are held by, tasks are stopped, files written and readers told.

use agentid_common::{
    instance::{Instance, Ladder, MAX_ANCESTRY, NO_SLOT, State as SlotState},
    tag::InvocationId,
    verdict::Mode,
};
use uuid::Uuid;

use super::refusal::Refusal;
use crate::{
    event::event::{Ended, Launched, PostureChange, Stopped, What},
    instance::{
        Demand, Ending, Phase, Posture, Registry, Run,
        run::{End, OnEnd, RunMode, Totals},
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
    pub posture: Posture,
    pub on_lost: OnLost,
    pub slots: u32,
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
    /// The kernel did not take the run after all.
    LaunchFailed(Uuid),
    /// Somebody who may do so ends a run.
    Revoke { id: Uuid, by_uid: u32, reason: Option<String> },
    /// Time has passed.
    Tick,
    /// The last task of a run is gone.
    Empty { slot: u32, generation: u64, totals: Totals },
    /// The canary has reported.
    Posture(Posture),
    /// A run of an earlier daemon that has its slot still.
    Adopt { run: Box<Run>, slot_state: SlotState },
    /// A run of an earlier daemon whose slot is not held any more.
    Lost(Box<Run>),
    /// A run of an earlier daemon that has ended.
    Remember(Box<Run>),
}

/// A run about to start. `run.place.slot` is chosen by [`step`].
#[derive(Clone, Debug)]
pub struct Launch {
    pub run: Run,
    pub policy_scope: u64,
    pub params_scope: u64,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Keep the run's facts for the next daemon.
    Save(Uuid),
    /// Forget a run that ended long ago.
    Forget(Uuid),
    /// Have the programs attached that the runs need, and every process of the host pays for.
    Attach(Demand),
    /// Give the run its slot in the kernel's table.
    Occupy { id: Uuid, instance: Instance },
    /// Mark the asking process with the run's tag.
    Tag(Uuid),
    /// Give an adopted run freshly compiled rules.
    Rebind(Uuid),
    /// One store to the slot: the kernel denies the run everything.
    Deny { slot: u32, state: SlotState },
    /// Stop the run's tasks until none is left. Without `kill`, only watch them.
    Stop { id: Uuid, kill: bool },
    /// Empty the slot and let go of what the run alone needed.
    Clear { id: Uuid, slot: u32 },
    /// Tell those who follow.
    Publish { id: Option<Uuid>, what: What },
}

/// Takes one input in. A refusal leaves the state as it was.
pub fn step(state: &mut State, input: Input, now: Now) -> Result<Vec<Effect>, Refusal> {
    match input {
        Input::Launch(launch) => state.launch(*launch),
        Input::LaunchFailed(id) => Ok(state.finish(id, Ending::LaunchFailed, None, now)),
        Input::Revoke { id, by_uid, reason } => state.revoke(id, by_uid, reason, now),
        Input::Tick => Ok(state.expire(now)),
        Input::Empty { slot, generation, totals } => {
            let id = state.registry.holder(slot, generation).map(|run| run.id);
            Ok(id
                .map_or_else(Vec::new, |id| state.finish(id, Ending::Completed, Some(totals), now)))
        }
        Input::Posture(posture) => Ok(state.posture(posture, now)),
        Input::Adopt { run, slot_state } => Ok(state.adopt(*run, slot_state, now)),
        Input::Lost(run) => Ok(state.lost(*run, now)),
        Input::Remember(run) => Ok(state.remember(*run)),
    }
}

impl State {
    fn launch(&mut self, launch: Launch) -> Result<Vec<Effect>, Refusal> {
        let Launch { mut run, policy_scope, params_scope } = launch;
        if let Posture::Off(why) = &self.posture {
            return Err(Refusal::NotEnforcing(why.clone()));
        }
        let (parent, parent_generation) = match run.parent {
            Some(parent) => self.parent(parent)?,
            None => (NO_SLOT, 0),
        };
        let slot = self.registry.free_slot().ok_or(Refusal::NoSlot(self.slots - 1))?;
        run.place.slot = slot;
        let instance = Instance {
            generation: run.place.generation,
            deadline: run.place.deadline,
            policy: policy_scope,
            params: params_scope,
            parent_generation,
            parent,
            state: SlotState::ACTIVE,
            mode: match run.mode {
                RunMode::Enforce => Mode::ENFORCE,
                RunMode::Audit => Mode::AUDIT,
            },
            ladder: match run.on_end {
                OnEnd::Deny => Ladder::DENY,
                OnEnd::Kill => Ladder::KILL,
            },
            invocation: InvocationId(run.id.into_bytes()),
        };
        let id = run.id;
        let launched = Launched { uid: run.uid, tgid: run.tgid, command: run.command.clone() };
        let forgotten = self.registry.insert(run).map_err(|_| Refusal::NoSlot(self.slots - 1))?;
        let mut effects = vec![
            Effect::Save(id),
            Effect::Attach(Demand::of(&self.registry)),
            Effect::Occupy { id, instance },
            Effect::Tag(id),
            Effect::Publish { id: Some(id), what: What::Launched(launched) },
        ];
        effects.extend(forgotten.into_iter().map(Effect::Forget));
        Ok(effects)
    }

    /// Slot and generation of a run that another one may stand on.
    fn parent(&self, id: Uuid) -> Result<(u32, u64), Refusal> {
        let run = self.registry.get(id).filter(|run| run.phase == Phase::Active);
        let run = run.ok_or(Refusal::ParentEnded(id))?;
        let depth = self.registry.ancestry(id);
        if depth >= MAX_ANCESTRY {
            return Err(Refusal::Deep { parent: id, depth, limit: MAX_ANCESTRY });
        }
        Ok((run.place.slot, run.place.generation))
    }

    fn revoke(
        &mut self,
        id: Uuid,
        by_uid: u32,
        reason: Option<String>,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        if let Some(ending) = self.registry.get(id).and_then(|run| run.phase.ending()) {
            return Err(Refusal::Ended { id, ending });
        }
        let end = End {
            ending: Ending::Revoked,
            at_ms: now.wall_ms,
            reason,
            by_uid: Some(by_uid),
            totals: None,
        };
        Ok(self.stop(vec![(id, end)], false))
    }

    fn expire(&mut self, now: Now) -> Vec<Effect> {
        let due = self
            .registry
            .live()
            .filter(|run| run.phase == Phase::Active && run.place.deadline <= now.boot_ns)
            .map(|run| (run.id, End::of(Ending::Expired, now.wall_ms)))
            .collect();
        self.stop(due, false)
    }

    fn posture(&mut self, posture: Posture, now: Now) -> Vec<Effect> {
        if posture == self.posture {
            return Vec::new();
        }
        let change = PostureChange {
            posture: posture.name().to_owned(),
            why: posture.why().map(ToOwned::to_owned),
        };
        let lost = posture.is_off() && self.on_lost == OnLost::Kill;
        self.posture = posture;
        let mut effects = Vec::new();
        if lost {
            let active = self.registry.live().filter(|run| run.phase == Phase::Active);
            let end = |run: &Run| (run.id, End::of(Ending::EnforcementLost, now.wall_ms));
            let active = active.map(end).collect();
            effects = self.stop(active, true);
        }
        effects.push(Effect::Publish { id: None, what: What::Posture(change) });
        effects
    }

    /// Ends runs and all below them: for all of them the stores first, then what holds their descriptors, then the tasks,
    /// then what takes its time.
    fn stop(&mut self, ends: Vec<(Uuid, End)>, kill: bool) -> Vec<Effect> {
        let mut all = Vec::new();
        for (id, end) in ends {
            let below = self.registry.descendants(id).into_iter();
            let inherited = End { ending: Ending::ParentEnded, by_uid: None, ..end.clone() };
            all.push((id, end));
            all.extend(below.map(|id| (id, inherited.clone())));
        }
        let (mut effects, mut stops, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (id, end) in all {
            let (ending, what) = (end.ending, What::Stopped(stopped(&end)));
            // Whoever ends by himself and with his parent ends once.
            if let Some(run) = self.registry.stop(id, end) {
                let kill = kill || run.on_end == OnEnd::Kill;
                effects.push(Effect::Deny { slot: run.place.slot, state: ending.slot_state() });
                stops.push(Effect::Stop { id, kill });
                rest.extend([Effect::Save(id), Effect::Publish { id: Some(id), what }]);
            }
        }
        if !stops.is_empty() {
            effects.push(Effect::Attach(Demand::of(&self.registry)));
        }
        effects.append(&mut stops);
        effects.append(&mut rest);
        effects
    }

    /// The last task of a run is gone, or it never had one.
    fn finish(
        &mut self,
        id: Uuid,
        ending: Ending,
        totals: Option<Totals>,
        now: Now,
    ) -> Vec<Effect> {
        let below = self.registry.descendants(id);
        let end = End { totals, ..End::of(ending, now.wall_ms) };
        let Some((run, forgotten)) = self.registry.end(id, end) else { return Vec::new() };
        let mut effects = vec![Effect::Clear { id, slot: run.place.slot }];
        let inherited = |id| (id, End::of(Ending::ParentEnded, now.wall_ms));
        effects.extend(self.stop(below.into_iter().map(inherited).collect(), false));
        effects.push(Effect::Save(id));
        if let Some(end) = &run.end {
            effects.push(Effect::Publish { id: Some(id), what: What::Ended(ended(end)) });
        }
        effects.extend(forgotten.into_iter().map(Effect::Forget));
        effects
    }

    fn adopt(&mut self, mut run: Run, slot_state: SlotState, now: Now) -> Vec<Effect> {
        let (id, slot) = (run.id, run.place.slot);
        // The table may be ahead of the file (the daemon died between the two), and the file of the table when the
        // machine stopped in between. Whichever says that the run is over is right.
        let ending = run.phase.ending().or(match slot_state {
            SlotState::ACTIVE | SlotState::SUSPENDED => None,
            SlotState::EXPIRED => Some(Ending::Expired),
            SlotState::COMPLETED => Some(Ending::Completed),
            _ => Some(Ending::Revoked),
        });
        run.phase = ending.map_or(Phase::Active, Phase::Stopping);
        if let Some(ending) = ending {
            run.end.get_or_insert_with(|| End::of(ending, now.wall_ms));
        }
        let kill = run.on_end == OnEnd::Kill;
        if self.registry.insert(run).is_err() {
            // Two files that claim one slot in one generation: the first one stands.
            return Vec::new();
        }
        let attach = Effect::Attach(Demand::of(&self.registry));
        match ending {
            None => vec![attach, Effect::Rebind(id)],
            Some(ending) => vec![
                Effect::Deny { slot, state: ending.slot_state() },
                attach,
                Effect::Stop { id, kill },
                Effect::Save(id),
            ],
        }
    }

    fn lost(&mut self, mut run: Run, now: Now) -> Vec<Effect> {
        let id = run.id;
        let ending = run.phase.ending().unwrap_or(Ending::LostAtBoot);
        run.phase = Phase::Ended(ending);
        run.end.get_or_insert_with(|| End::of(ending, now.wall_ms));
        let mut effects = self.remember(run);
        effects.insert(0, Effect::Save(id));
        effects
    }

    fn remember(&mut self, run: Run) -> Vec<Effect> {
        let forgotten = self.registry.insert(run).unwrap_or_default();
        forgotten.into_iter().map(Effect::Forget).collect()
    }
}

fn stopped(end: &End) -> Stopped {
    Stopped { ending: end.ending.name().to_owned(), reason: end.reason.clone(), by_uid: end.by_uid }
}

fn ended(end: &End) -> Ended {
    let Stopped { ending, reason, by_uid } = stopped(end);
    let totals = end.totals;
    let (records, lost) = (totals.map(|it| it.records), totals.map(|it| it.lost));
    Ended { ending, reason, by_uid, records, lost }
}
