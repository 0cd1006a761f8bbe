//! Ending runs while there is no daemon.
//!
//! What follows from a revocation is [`step`]'s to say, as it is for the daemon. The next daemon finds the ended runs as one
//! would that had died right after the revocation, and concludes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use agentid_common::{instance::State as SlotState, map};
use thiserror::Error;
use uuid::Uuid;

use super::{
    adopt::{TakenUp, pair},
    clock,
    launch::chain,
    revoke::{PATIENCE, millis},
    stopping::{COURTESY, LATEST, OUTLASTED, PROMPT, SOONEST, Unseen, pause},
};
use crate::{
    control::api::{RevokeAllReply, RevokeReply, RunView, Selector},
    image::MapOp,
    instance::{Demand, DeniedOwners, Phase, Place, Posture, Registry, Run, run::OnEnd},
    kernel::{
        ApplyError, EndedConnections, HangingUp, Left, LeftError, LeftPrograms, Runs, StartError,
        boot_time,
    },
    settings::Settings,
    supervisor::{
        launch,
        refusal::Refusal,
        select,
        step::{Actor, Effect, Input, Now, OnLost, State, step},
        store::{Store, StoreError},
        view,
    },
};

/// What is left of connections is looked for so often, and so long: their processes are on their way out.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Why nothing was ended, or not all that should be.
#[derive(Debug, Error)]
pub enum OfflineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("find what a daemon has left: there is no folder {}", .0.display())]
    NoState(PathBuf),
    #[error("a daemon has {}", .0.display())]
    Answers(PathBuf),
    #[error(transparent)]
    Left(#[from] LeftError),
    #[error(transparent)]
    Held(#[from] StartError),
    #[error("deny the runs everything")]
    Deny(#[from] ApplyError),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl OfflineError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Store(StoreError::Locked { .. }) | Self::Answers(_) => {
                "leave --offline out; a daemon that hangs is stopped first: systemctl stop agentid"
                    .to_owned()
            }
            Self::NoState(_) => "name the daemon's own with --config".to_owned(),
            Self::Refused(refusal) => refusal.remedy(),
            _ => {
                "start the daemon, which takes up what is left: systemctl start agentid".to_owned()
            }
        }
    }
}

/// The runs of a host without a daemon. None can start while this lives.
pub struct Offline {
    left: Left,
    store: Store,
    state: State,
    /// Runs without a file that can be read, of which nothing is known but the ID.
    strangers: BTreeSet<Uuid>,
    /// What went wrong without keeping a run from being ended, each once.
    notes: BTreeSet<String>,
    /// The connections that were ended last, by slot.
    connections: BTreeMap<u32, EndedConnections>,
    /// When the last task stood still that is to stand still.
    frozen: Option<Instant>,
}

/// A run that is denied everything and killed.
struct Killed {
    id: Uuid,
    slot: u32,
    generation: u64,
    stopped_after: Option<Duration>,
}

impl Offline {
    pub fn open(settings: &Settings) -> Result<Self, OfflineError> {
        // Another folder would have another lock, and nothing in it.
        if !settings.state.is_dir() {
            return Err(OfflineError::NoState(settings.state.clone()));
        }
        // With the lock held no daemon is at work.
        let store = Store::open(&settings.state)?;
        if UnixStream::connect(&settings.control).is_ok() {
            return Err(OfflineError::Answers(settings.control.clone()));
        }
        let left = Left::open(&settings.bpffs)?;
        let held = left.held()?;
        // What is over without a task left is not looked at: there may be thousands of that.
        let ids: BTreeSet<Uuid> =
            held.iter().map(|held| Uuid::from_bytes(held.instance.invocation.0)).collect();
        let (known, unread) = store.readable_runs_of(ids.into_iter());
        let mut offline = Self {
            left,
            store,
            state: State {
                registry: Registry::new(map::SLOTS, settings.keep_ended_at_most),
                denied: DeniedOwners::new(),
                posture: Posture::Off("there is no daemon".to_owned()),
                on_lost: OnLost::Keep,
                slots: map::SLOTS,
                per_user: settings.runs_per_user,
            },
            strangers: BTreeSet::new(),
            notes: unread.iter().map(|error| chain(error)).collect(),
            connections: BTreeMap::new(),
            frozen: None,
        };
        for TakenUp { input, instance } in pair(known, held, now().wall_ms) {
            offline.learn(input, instance.is_none())?;
        }
        Ok(offline)
    }

    /// Takes in the runs as well that hold nothing in the kernel: a refusal says what has become of one.
    fn learn_all(&mut self) -> Result<(), OfflineError> {
        let (known, unread) = self.store.readable_runs()?;
        self.notes.extend(unread.iter().map(|error| chain(error)));
        let is_new = |run: &Run| self.state.registry.get(run.id).is_none();
        let others = known.into_iter().filter(is_new).collect();
        for TakenUp { input, .. } in pair(others, Vec::new(), now().wall_ms) {
            self.learn(input, false)?;
        }
        Ok(())
    }

    /// Takes a run in, and leaves what a daemon would do about it to the next one.
    fn learn(&mut self, mut input: Input, without_file: bool) -> Result<(), Refusal> {
        if let Input::Adopt { run, slot_state } = &mut input
            && without_file
        {
            self.strangers.insert(run.id);
            if matches!(*slot_state, SlotState::ACTIVE | SlotState::SUSPENDED) {
                (run.phase, run.end) = (Phase::Active, None);
            }
        }
        step(&mut self.state, input, now()).map(|_| ())
    }

    /// The runs that are to be ended, of those that are selected: also those that are over and may have tasks left.
    pub fn left(&self, selector: &Selector) -> Result<Vec<RunView>, OfflineError> {
        let now = now();
        let found = select::find_all(&self.state.registry, selector, |_| true, now)?;
        let left = found.into_iter().filter(|run| run.phase.holds_slot());
        Ok(left.map(|run| view::run(run, self.tasks(run), None, now)).collect())
    }

    /// What went wrong so far beside what was asked for.
    pub fn take_notes(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.notes)
    }

    /// Ends the runs and all below them. Everything is denied to all of them before the first task is stopped.
    pub fn revoke(
        &mut self,
        selector: &Selector,
        kill: bool,
        by: Actor,
        begun: Instant,
    ) -> Result<RevokeAllReply, OfflineError> {
        launch::reason(by.reason.as_deref())?;
        let selected = |state: &State| {
            select::selected(&state.registry, selector, |_| true, Phase::holds_slot, now())
        };
        let ids = match selected(&self.state) {
            Ok(ids) => ids,
            Err(_) => {
                self.learn_all()?;
                selected(&self.state)?
            }
        };
        let trees = self.state.registry.trees(&ids, kill);
        let tasks: Vec<u64> = trees.iter().map(|tree| self.tasks_of(tree)).collect();
        let (over, ids): (Vec<Uuid>, Vec<Uuid>) = ids.into_iter().partition(|id| {
            let run = self.state.registry.get(*id);
            run.is_some_and(|run| matches!(run.phase, Phase::Stopping(_)))
        });
        let mut effects = step(&mut self.state, Input::Revoke { ids, kill, by }, now())?;
        effects.extend(self.once_more(&over, kill)?);

        let (denials, rest): (Vec<Effect>, Vec<Effect>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Deny { .. }));
        let mut denied = Ok(());
        for effect in denials {
            if let Effect::Deny { slot, state } = effect
                && let Err(error) = self.left.apply(&[MapOp::SetState(slot, state)])
            {
                denied = Err(error);
            }
        }
        let denied_after = begun.elapsed();
        let killed = self.carry_out(rest, begun);
        denied?;

        let runs = trees.iter().zip(tasks).map(|((id, also), tasks)| {
            let tree = || also.iter().chain([id]);
            let own = || killed.iter().filter(|one| tree().any(|id| *id == one.id));
            let times: Option<Vec<Duration>> = own().map(|one| one.stopped_after).collect();
            let stopped = |id| own().any(|one| one.id == id && one.stopped_after.is_some());
            let (connections, hung_up) = self.hung_up(tree());
            let frozen = self.frozen.filter(|_| self.state.registry.stand_still(tree()));
            RevokeReply {
                id: *id,
                also: also.clone(),
                tasks,
                remaining: tree().filter(|id| !stopped(**id)).map(|id| self.tasks_by_id(*id)).sum(),
                denied_after_ms: millis(denied_after),
                connections,
                hung_up_after_ms: hung_up.map(|at| millis(at - begun)),
                frozen_after_ms: frozen.map(|at| millis(at - begun)),
                stopped_after_ms: times.and_then(|it| it.into_iter().max()).map(millis),
            }
        });
        let runs: Vec<RevokeReply> = runs.collect();
        let times: Option<Vec<f64>> = runs.iter().map(|run| run.stopped_after_ms).collect();
        Ok(RevokeAllReply {
            denied_after_ms: millis(denied_after),
            stopped_after_ms: times.and_then(|times| times.into_iter().reduce(f64::max)),
            runs,
        })
    }

    /// What was to be done about runs that are over already, and may not have been.
    fn once_more(&mut self, over: &[Uuid], kill: bool) -> Result<Vec<Effect>, Refusal> {
        let by = Actor { uid: 0, reason: None };
        let killed = if kill { over.to_vec() } else { Vec::new() };
        // Notes that they are killed; what follows from that does from what they are then.
        step(&mut self.state, Input::Revoke { ids: killed, kill, by }, now())?;
        let runs = over.iter().filter_map(|id| self.state.registry.get(*id));
        let each = runs.flat_map(|run| {
            let denial = Effect::Deny { slot: run.place.slot, state: run.phase.slot_state() };
            [denial, Effect::Stop { id: run.id, how: run.on_end }, Effect::Save(run.id)]
        });
        let attach = Effect::Attach(Demand::of(&self.state.registry));
        Ok(if over.is_empty() { Vec::new() } else { [attach].into_iter().chain(each).collect() })
    }

    /// What follows the denial: descriptors are held, those at the other ends told, tasks killed, and then files written.
    fn carry_out(&mut self, effects: Vec<Effect>, begun: Instant) -> Vec<Killed> {
        let mut programs = match self.left.programs() {
            Ok(programs) => Some(programs),
            Err(error) => {
                self.note(&error);
                None
            }
        };
        let (mut killed, mut saves, mut stops) = (Vec::new(), Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Attach(demand) => {
                    if let Some(Err(error)) = programs.as_mut().map(|it| it.meet(demand)) {
                        self.note(&error);
                    }
                }
                Effect::Stop { id, how } => {
                    let run = self.state.registry.get(id);
                    stops.extend(run.map(|run| (id, run.place, run.group(), how)));
                }
                Effect::Save(id) if !self.strangers.contains(&id) => saves.push(id),
                // Whoever follows events asks the daemon; slots are the next one's to clear.
                _ => {}
            }
        }
        if let Some(programs) = &mut programs {
            let connections = self.hang_up(programs, &stops);
            let to_kill = stops.iter().filter(|(.., how)| *how == OnEnd::Kill);
            killed.extend(to_kill.map(|&(id, Place { slot, generation, .. }, ..)| Killed {
                id,
                slot,
                generation,
                stopped_after: None,
            }));
            self.kill(programs, &mut killed, begun);
            let runs: Runs =
                stops.iter().map(|(_, place, ..)| (place.slot, place.generation)).collect();
            self.freeze(programs, stops);
            if let Some(connections) = connections {
                match connections.finish(COURTESY) {
                    Ok(hung_up) => {
                        hung_up.failure.iter().for_each(|failure| self.note(failure));
                        self.connections = hung_up.connections;
                    }
                    Err(error) => self.note(&error),
                }
                let dying = killed.iter().map(|one| (one.slot, one.generation)).collect();
                self.end_orphans(programs, &runs, &dying);
                if let Err(error) = programs.hang_up_elsewhere(&runs, LAST_LOOK) {
                    self.note(&error);
                }
            }
        }
        for id in saves {
            let saved = self.state.registry.get(id).map(|run| self.store.save(run));
            if let Some(Err(error)) = saved {
                self.note(&error);
            }
        }
        killed
    }

    /// Begins to tell those at the other ends, of all runs at once.
    fn hang_up(
        &mut self,
        programs: &mut LeftPrograms,
        stops: &[(Uuid, Place, String, OnEnd)],
    ) -> Option<HangingUp> {
        let held = |place: &Place| (place.slot, place.generation);
        let all = stops.iter().map(|(_, place, ..)| held(place)).collect();
        let to_kill = stops.iter().filter(|(.., how)| *how == OnEnd::Kill);
        let to_kill = to_kill.map(|(_, place, ..)| held(place)).collect();
        let connections = match programs.hang_up(&all, &to_kill) {
            Ok(connections) => connections,
            Err(error) => {
                self.note(&error);
                None
            }
        };
        if connections.as_ref().is_some_and(|it| !it.is_taken(PROMPT)) {
            self.hold(programs, stops.iter().map(|(id, ..)| *id).collect());
            // Those who are not told in time are not told; the tasks are killed all the same.
            connections.as_ref().map(|it| it.is_taken(COURTESY));
        }
        connections
    }

    /// What the runs' processes have closed before they were looked at, or close as they end.
    fn end_orphans(&mut self, programs: &LeftPrograms, runs: &Runs, dying: &Runs) {
        let begun = Instant::now();
        while begun.elapsed() < LAST_LOOK {
            match programs.end_orphans(runs, dying) {
                Ok((ended, left)) => {
                    for (slot, more) in ended {
                        EndedConnections::merge(&mut self.connections, slot, more);
                    }
                    if left == 0 {
                        return;
                    }
                }
                Err(error) => {
                    self.note(&error);
                    return;
                }
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Has tasks stand still, each run in a cgroup of its own.
    fn freeze(&mut self, programs: &mut LeftPrograms, stops: Vec<(Uuid, Place, String, OnEnd)>) {
        let to_freeze = stops.into_iter().filter(|(.., how)| *how == OnEnd::Freeze);
        for (id, Place { slot, generation, .. }, group, _) in to_freeze {
            let (runs, mut made) = (Runs::from([(slot, generation)]), BTreeSet::new());
            let frozen = programs.freeze(&runs, &group, &mut made);
            self.state.registry.add_groups(id, made);
            self.state.registry.note_frozen(id, frozen.is_ok());
            match frozen {
                Ok(()) => self.frozen = Some(Instant::now()),
                Err(error) => self.note(&error),
            }
        }
    }

    /// Has the descriptors of runs held that are not gone soon.
    fn hold(&mut self, programs: &mut LeftPrograms, ids: Vec<Uuid>) {
        let effects = match step(&mut self.state, Input::Outlasting(ids), now()) {
            Ok(effects) => effects,
            Err(error) => {
                self.note(&error);
                return;
            }
        };
        for effect in effects {
            if let Effect::Attach(demand) = effect
                && let Err(error) = programs.meet(demand)
            {
                self.note(&error);
            }
        }
    }

    /// Kills until no task is left, or for as long as an answer waits. Each pass is over all tasks of the host, while the counts
    /// of the runs are looked at all the time.
    fn kill(&mut self, programs: &mut LeftPrograms, killed: &mut [Killed], begun: Instant) {
        let since = Instant::now();
        let (mut pass, mut unseen) = (since, Unseen::default());
        loop {
            for one in killed.iter_mut().filter(|one| one.stopped_after.is_none()) {
                match self.left.live(one.slot) {
                    Ok(0) => one.stopped_after = Some(begun.elapsed()),
                    Ok(_) => {}
                    Err(error) => self.note(&error),
                }
            }
            let left = killed.iter().filter(|one| one.stopped_after.is_none());
            let runs: Runs = left.map(|one| (one.slot, one.generation)).collect();
            if runs.is_empty() {
                return;
            }
            let begins = Instant::now();
            if pass <= begins {
                let gone = self.look(programs, &runs, &mut unseen);
                for one in killed.iter_mut().filter(|one| gone.contains_key(&one.slot)) {
                    one.stopped_after = Some(begun.elapsed());
                }
                pass = Instant::now() + pause(since.elapsed(), begins.elapsed()).unwrap_or(LATEST);
            }
            if since.elapsed() > OUTLASTED {
                let left = killed.iter().filter(|one| one.stopped_after.is_none());
                self.hold(programs, left.map(|one| one.id).collect());
            }
            if since.elapsed() >= PATIENCE {
                return;
            }
            thread::sleep(SOONEST);
        }
    }

    /// One pass over the processes of runs, which are killed; gives the runs that have none, whatever their counts say.
    fn look(&mut self, programs: &mut LeftPrograms, runs: &Runs, unseen: &mut Unseen) -> Runs {
        let processes = match programs.processes(runs) {
            Ok(processes) => processes,
            Err(error) => {
                self.note(&error);
                return Runs::new();
            }
        };
        if let Err(error) = programs.stop(&processes) {
            self.note(&error);
        }
        unseen.again(runs, &processes.iter().map(|(.., generation)| *generation).collect())
    }

    /// How many connections of these runs were ended, and when the last one was.
    fn hung_up<'a>(&self, ids: impl Iterator<Item = &'a Uuid>) -> (u64, Option<Instant>) {
        let slots = ids.filter_map(|id| Some(self.state.registry.get(*id)?.place.slot));
        let ended = slots.filter_map(|slot| self.connections.get(&slot));
        ended.fold((0, None), |(sum, last), ended| (sum + ended.count, last.max(Some(ended.last))))
    }

    fn note(&mut self, error: &dyn std::error::Error) {
        self.notes.insert(chain(error));
    }

    fn tasks_of(&self, (id, also): &(Uuid, Vec<Uuid>)) -> u64 {
        also.iter().chain([id]).map(|id| self.tasks_by_id(*id)).sum()
    }

    fn tasks_by_id(&self, id: Uuid) -> u64 {
        self.state.registry.get(id).map_or(0, |run| self.tasks(run))
    }

    fn tasks(&self, run: &Run) -> u64 {
        if !run.phase.holds_slot() {
            return 0;
        }
        // Nothing is decided by it; the answer says how many it saw.
        self.left.live(run.place.slot).unwrap_or_default()
    }
}

fn now() -> Now {
    clock::now(|| u64::try_from(boot_time().as_nanos()).unwrap_or(u64::MAX))
}
