//! The table of runs: those that live, by slot, and the last ones that ended.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
};

use thiserror::Error;
use uuid::Uuid;

use super::{
    demand::{Changing, Demand, Demands},
    run::{End, OnEnd, Run},
    state::Phase,
};

/// Fewest characters that may stand for an ID.
pub const SHORTEST_ID: usize = 4;

/// Most runs that are told where a text could mean several.
const MOST_TOLD: usize = 4;

/// All runs that the daemon knows.
#[derive(Debug)]
pub struct Registry {
    runs: BTreeMap<Uuid, Run>,
    slots: BTreeMap<u32, Uuid>,
    /// The runs that hold a slot and stand right on this one. Whatever ends looks for those below it, so that this must not
    /// take longer the more runs there are beside.
    children: BTreeMap<Uuid, BTreeSet<Uuid>>,
    /// What those that hold a slot need, all together.
    demands: Demands,
    /// How many hold a slot of each account.
    users: BTreeMap<u32, usize>,
    /// Ended runs of each account, the first to have ended in front.
    ended: BTreeMap<u32, VecDeque<Uuid>>,
    /// How many ended runs there are, and how many are remembered.
    count: usize,
    keep: usize,
    /// One past the last slot, and where the search for a free one goes on.
    end: u32,
    cursor: u32,
}

/// A run that is not known any more, and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    pub id: Uuid,
    pub uid: u32,
}

/// Why a text names no run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Ambiguous {
    #[error("no run has an ID that starts or ends with {0:?}")]
    Unknown(String),
    #[error("{count} runs have an ID that starts or ends with {text:?}")]
    Many { text: String, count: usize, some: Vec<Uuid> },
    #[error("{0:?} is too short for an ID: at least {SHORTEST_ID} characters are needed")]
    Short(String),
}

/// A slot or an ID is taken, which no correct caller meets.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("run {id} cannot have slot {slot}: the ID or the slot is taken")]
pub struct Taken {
    pub id: Uuid,
    pub slot: u32,
}

impl Registry {
    /// A table for the slots from 1 up to `slots` (slot 0 is the canary's), which remembers `keep` ended runs.
    pub fn new(slots: u32, keep: usize) -> Self {
        Self {
            runs: BTreeMap::new(),
            slots: BTreeMap::new(),
            children: BTreeMap::new(),
            demands: Demands::default(),
            users: BTreeMap::new(),
            ended: BTreeMap::new(),
            count: 0,
            keep,
            end: slots,
            cursor: 1,
        }
    }

    /// A slot that no run has. Slots are given in turn, so that one is not used again soon.
    pub fn free_slot(&mut self) -> Option<u32> {
        let found = (self.cursor..self.end)
            .chain(1..self.cursor)
            .find(|slot| !self.slots.contains_key(slot))?;
        self.cursor = if found + 1 < self.end { found + 1 } else { 1 };
        Some(found)
    }

    /// Takes in a run, alive or ended. Returns the runs that are forgotten for it.
    pub fn insert(&mut self, run: Run) -> Result<Vec<Former>, Taken> {
        let (id, account) = (run.id, run.account());
        let slot = run.place.slot;
        let holds_slot = run.phase.holds_slot();
        if self.runs.contains_key(&id) || (holds_slot && self.slots.contains_key(&slot)) {
            return Err(Taken { id, slot });
        }
        if holds_slot {
            self.slots.insert(slot, id);
            *self.users.entry(account).or_default() += 1;
            self.demands.add(Demand::of_run(&run));
            if let Some(parent) = run.parent {
                self.children.entry(parent).or_default().insert(id);
            }
        } else {
            self.note_ended(id, account);
        }
        self.runs.insert(id, run);
        Ok(self.forget())
    }

    /// A run that has not ended, to be changed in its place.
    pub fn live_mut(&mut self, id: Uuid) -> Option<Changing<'_>> {
        self.change(id, Phase::is_live)
    }

    fn change(&mut self, id: Uuid, which: impl Fn(Phase) -> bool) -> Option<Changing<'_>> {
        let run = self.runs.get_mut(&id).filter(|run| which(run.phase))?;
        Some(Changing::new(run, &mut self.demands))
    }

    /// Moves a run on to `Stopping`; the slot stays its own. `None` when it has ended already.
    pub fn stop(&mut self, id: Uuid, end: End) -> Option<Changing<'_>> {
        let mut run = self.live_mut(id)?;
        // A run that was suspended has its descriptors held, which goes on.
        run.outlasts = run.phase == Phase::Suspended;
        run.phase = Phase::Stopping(end.ending);
        run.end = Some(end);
        Some(run)
    }

    /// Has the tasks of a run that is over be killed, whatever its policy says; false where there are none.
    pub fn is_to_be_killed(&mut self, id: Uuid) -> bool {
        let run = self.change(id, |phase| matches!(phase, Phase::Stopping(_)));
        run.map(|mut run| run.kill()).is_some()
    }

    /// Notes that a run has tasks although they were killed; false where that is known.
    pub fn note_outlasting(&mut self, id: Uuid) -> bool {
        let run = self.change(id, |phase| matches!(phase, Phase::Stopping(_)));
        run.is_some_and(|mut run| {
            run.on_end == OnEnd::Kill && !std::mem::replace(&mut run.outlasts, true)
        })
    }

    /// Notes whether the tasks of a run stand still that is held, or that is over and whose policy wants that.
    pub fn note_frozen(&mut self, id: Uuid, frozen: bool) {
        if let Some(run) = self.runs.get_mut(&id) {
            match run.phase {
                Phase::Stopping(_) => run.frozen = frozen && run.on_end == OnEnd::Freeze,
                Phase::Suspended => run.frozen &= frozen,
                Phase::Active | Phase::Ended(_) => {}
            }
        }
    }

    /// Whether there are runs of these whose tasks are to stand still after the end, and all of those do.
    pub fn stand_still<'a>(&self, ids: impl Iterator<Item = &'a Uuid>) -> bool {
        let runs = ids.filter_map(|id| self.runs.get(id));
        let mut held = runs.filter(|run| run.on_end == OnEnd::Freeze).peekable();
        held.peek().is_some() && held.all(|run| run.frozen)
    }

    /// Notes the cgroups that were made for a run, whether it has ended or not.
    pub fn add_groups(&mut self, id: Uuid, groups: BTreeSet<PathBuf>) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.groups.extend(groups);
        }
    }

    /// Ends a run, which frees its slot. An earlier reason to stop stands. Returns the run, and those forgotten for it.
    pub fn end(&mut self, id: Uuid, end: End) -> Option<(Run, Vec<Former>)> {
        let mut changing = self.change(id, Phase::holds_slot)?;
        let run = &mut *changing;
        let end = match run.end.take() {
            Some(earlier) => End { totals: end.totals, ..earlier },
            None => end,
        };
        run.phase = Phase::Ended(end.ending);
        run.frozen = false;
        run.end = Some(end);
        let run = run.clone();
        drop(changing);
        self.slots.remove(&run.place.slot);
        if let Some(count) = self.users.get_mut(&run.account()) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&run.account());
            }
        }
        let above = self.leave(&run);
        // What is below and has tasks left stands on whoever is above now.
        if let Some(left) = self.children.remove(&id)
            && let Some(above) = above
        {
            self.children.entry(above).or_default().extend(left);
        }
        self.note_ended(id, run.account());
        Some((run, self.forget()))
    }

    /// Takes a run away from below the nearest one above that holds a slot, which it gives.
    fn leave(&mut self, run: &Run) -> Option<Uuid> {
        let holds = |above: &&Uuid| self.get(**above).is_some_and(|run| run.phase.holds_slot());
        let above = run.parent.iter().chain(&run.above).find(holds).copied()?;
        if let Some(children) = self.children.get_mut(&above) {
            children.remove(&run.id);
            if children.is_empty() {
                self.children.remove(&above);
            }
        }
        Some(above)
    }

    pub fn get(&self, id: Uuid) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// The run that holds a slot in this generation.
    pub fn holder(&self, slot: u32, generation: u64) -> Option<&Run> {
        let run = self.in_slot(slot)?;
        (run.place.generation == generation).then_some(run)
    }

    /// The run that holds a slot.
    pub fn in_slot(&self, slot: u32) -> Option<&Run> {
        self.runs.get(self.slots.get(&slot)?)
    }

    /// What all runs need that hold a slot.
    pub(super) const fn demands(&self) -> Demands {
        self.demands
    }

    /// Runs that hold a slot.
    pub fn live(&self) -> impl Iterator<Item = &Run> {
        self.slots.values().filter_map(|id| self.runs.get(id))
    }

    /// How many there are.
    pub fn live_count(&self) -> usize {
        self.slots.len()
    }

    /// How many of them go to this account.
    pub fn live_of(&self, account: u32) -> usize {
        self.users.get(&account).copied().unwrap_or_default()
    }

    /// Every run that is known, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// The one run that a text names: a whole ID, or enough of its start or end.
    pub fn find(&self, text: &str, visible: impl Fn(&Run) -> bool) -> Result<&Run, Ambiguous> {
        let unknown = || Ambiguous::Unknown(text.to_owned());
        if let Ok(id) = Uuid::try_parse(text) {
            return self.runs.get(&id).filter(|run| visible(run)).ok_or_else(unknown);
        }
        if text.chars().count() < SHORTEST_ID {
            return Err(Ambiguous::Short(text.to_owned()));
        }
        let wanted = text.to_ascii_lowercase();
        let matches = |run: &&Run| {
            // Those of others cost nothing.
            visible(run) && {
                let mut text = Uuid::encode_buffer();
                let id = run.id.hyphenated().encode_lower(&mut text);
                id.starts_with(&wanted) || id.ends_with(&wanted)
            }
        };
        let found: Vec<&Run> = self.runs.values().filter(matches).collect();
        match found.as_slice() {
            [] => Err(unknown()),
            [one] => Ok(one),
            many => {
                // The last ones, of which one is more likely meant.
                let some = many.iter().rev().take(MOST_TOLD).map(|run| run.id).collect();
                Err(Ambiguous::Many { text: text.to_owned(), count: many.len(), some })
            }
        }
    }

    /// Each of these with the runs below it that are not among them.
    pub fn trees(&self, ids: &[Uuid], over: bool) -> Vec<(Uuid, Vec<Uuid>)> {
        // Nothing is denied before this is known, however many are meant.
        let among: BTreeSet<Uuid> = ids.iter().copied().collect();
        let below = |id: &Uuid| {
            let mut below = if over { self.all_below(*id) } else { self.descendants(*id) };
            below.retain(|one| !among.contains(one));
            (*id, below)
        };
        ids.iter().map(below).collect()
    }

    /// The runs that have not ended and stand on this one, directly or not.
    pub fn descendants(&self, id: Uuid) -> Vec<Uuid> {
        self.below(id, Phase::is_live)
    }

    /// The same with those that are over and may have tasks left.
    pub fn all_below(&self, id: Uuid) -> Vec<Uuid> {
        self.below(id, Phase::holds_slot)
    }

    fn below(&self, id: Uuid, which: impl Fn(Phase) -> bool) -> Vec<Uuid> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(above) = found.get(next) {
            let children = self.children.get(above).into_iter().flatten();
            let live = children.filter(|id| self.get(**id).is_some_and(|run| which(run.phase)));
            let live: Vec<Uuid> = live.copied().collect();
            found.extend(live);
            next += 1;
        }
        found.split_off(1)
    }

    /// How many runs the chain from this one upwards holds, itself included.
    pub fn ancestry(&self, id: Uuid) -> u32 {
        let mut length = 0;
        let mut next = Some(id);
        while let Some(run) = next.and_then(|id| self.runs.get(&id)) {
            length += 1;
            next = run.parent;
        }
        length
    }

    /// Forgets runs that had ended by then, in milliseconds since 1970, and says which.
    pub fn forget_ended_by(&mut self, at_ms: u64) -> Vec<Former> {
        let is_old = |run: &Run| run.end.as_ref().is_some_and(|end| end.at_ms <= at_ms);
        let mut all_old = Vec::new();
        for ended in self.ended.values_mut() {
            let (old, kept): (VecDeque<Uuid>, VecDeque<Uuid>) =
                ended.drain(..).partition(|id| self.runs.get(id).is_none_or(is_old));
            *ended = kept;
            all_old.extend(old);
        }
        self.remove(all_old)
    }

    fn note_ended(&mut self, id: Uuid, account: u32) {
        self.ended.entry(account).or_default().push_back(id);
        self.count += 1;
    }

    /// Beyond what is remembered, the account with the most loses its oldest: whoever ends many runs forgets his own.
    fn forget(&mut self) -> Vec<Former> {
        let mut forgotten = Vec::new();
        for _ in self.keep..self.count {
            let most = self.ended.values_mut().max_by_key(|ended| ended.len());
            forgotten.extend(most.and_then(VecDeque::pop_front));
        }
        self.remove(forgotten)
    }

    fn remove(&mut self, ended: Vec<Uuid>) -> Vec<Former> {
        self.count = self.count.saturating_sub(ended.len());
        self.ended.retain(|_, ended| !ended.is_empty());
        let runs = ended.into_iter().filter_map(|id| self.runs.remove(&id));
        runs.map(|run| Former { id: run.id, uid: run.uid }).collect()
    }
}
