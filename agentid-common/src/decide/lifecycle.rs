//! Is the run alive, and every run that it stands on?

use core::ops::{Deref, DerefMut};

use crate::{
    capability::Capabilities,
    facts::{Facts, Flow, Turn},
    instance::{Instance, Ladder, MAX_ANCESTRY, NO_SLOT, State},
    tag::Tag,
    verdict::{Answer, Fault, Mode, Reason, Refusal, Rule},
};

const _: () = assert!(MAX_ANCESTRY.is_power_of_two(), "the chain is indexed by a mask");

/// The rules of one run in a chain of delegation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    pub policy: u64,
    pub params: u64,
}

/// Proof that a run is alive, with the rules that hold it: its own first, then those of each run above it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Alive {
    pub chain: [Scopes; MAX_ANCESTRY as usize],
    /// What every run of the chain leaves to the asking one.
    pub capabilities: Capabilities,
    pub length: u32,
}

/// Room for a chain on the stack, for those who have enough of it.
#[derive(Debug, Default)]
pub struct OnStack(Alive);

impl Deref for OnStack {
    type Target = Alive;

    fn deref(&self) -> &Alive {
        &self.0
    }
}

impl DerefMut for OnStack {
    fn deref_mut(&mut self) -> &mut Alive {
        &mut self.0
    }
}

impl Alive {
    /// Asks every run of the chain, the asking one first. The first refusal counts, unless a tripwire lies further up: that
    /// one's owner wants to know, whatever else denies it. The rule that allows is the asking run's own.
    #[inline(always)]
    pub fn each<F: Facts, Q: Question>(&self, facts: &F, question: &Q) -> Answer {
        let mut asking = Asking { alive: self, question, answer: Ok(0) };
        if !Q::BEFORE_LOOP {
            facts.repeat(self.length.min(MAX_ANCESTRY), &mut asking)?;
        } else if asking.turn(0) == Flow::GoOn && self.length > 1 {
            let others = self.length.min(MAX_ANCESTRY).wrapping_sub(1);
            facts.repeat(others, &mut Others(&mut asking))?;
        }
        asking.answer
    }
}

/// What is asked of the rules of one run.
pub trait Question {
    /// Whether the first run is asked before the loop over the others: most runs stand on no other one, and a loop has its
    /// price. So has the stack that a large question takes there.
    const BEFORE_LOOP: bool = true;
    fn ask(&self, scopes: &Scopes) -> Answer;
}

struct Asking<'a, Q> {
    alive: &'a Alive,
    question: &'a Q,
    answer: Answer,
}

impl<Q: Question> Turn for Asking<'_, Q> {
    #[inline(always)]
    fn turn(&mut self, depth: u32) -> Flow {
        let scopes = &self.alive.chain[depth as usize & (MAX_ANCESTRY as usize - 1)];
        match self.question.ask(scopes) {
            Ok(rule) => {
                if depth == 0 {
                    self.answer = Ok(rule);
                }
                Flow::GoOn
            }
            Err(refusal) => self.refuse(refusal.from_above(depth)),
        }
    }
}

impl<Q> Asking<'_, Q> {
    #[inline(always)]
    fn refuse(&mut self, refusal: Refusal) -> Flow {
        let (rings, is_fault) = (refusal.is_tripwire(), matches!(refusal, Refusal::Fault(_)));
        if rings || is_fault || self.answer.is_ok() {
            self.answer = Err(refusal);
        }
        if rings || is_fault { Flow::Stop } else { Flow::GoOn }
    }
}

/// The turns after the first.
struct Others<'a, T>(&'a mut T);

impl<T: Turn> Turn for Others<'_, T> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> Flow {
        self.0.turn(index.wrapping_add(1))
    }
}

/// How a run is treated that is asked about; read even when the run is dead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub mode: Mode,
    pub ladder: Ladder,
    /// Whether the slot still belongs to the tag's run, so that its activity may be counted there.
    pub owned: bool,
}

/// May a task of this run do what no rule speaks of, such as starting another task?
#[inline(always)]
pub fn may_go_on<F: Facts>(facts: &F, tag: &Tag) -> Result<Rule, Refusal> {
    facts.ascend(tag, None)?;
    Ok(0)
}

/// How the tag's own run is to be treated, whatever the decision.
#[inline(always)]
pub fn standing<F: Facts>(facts: &F, tag: &Tag) -> Standing {
    match facts.instance(tag.slot) {
        Some(instance) if instance.generation == tag.generation => {
            Standing { mode: instance.mode, ladder: instance.ladder, owned: true }
        }
        Some(_) | None => Standing::default(),
    }
}

/// The run's chain, if all of it is alive.
#[inline(always)]
pub fn alive<F: Facts>(facts: &F, tag: &Tag) -> Result<Alive, Refusal> {
    let mut alive = Alive::default();
    facts.ascend(tag, Some(&mut alive))?;
    Ok(alive)
}

/// Asks the rules of a run and of every run above it, if all of them are alive.
#[inline(always)]
pub fn ask_each<F: Facts, Q: Question>(facts: &F, tag: &Tag, question: &Q) -> Answer {
    ask_each_in(facts.room()?, facts, tag, question)
}

/// The same, in room that is there.
#[inline(always)]
pub fn ask_each_in<F: Facts, Q: Question>(
    mut room: impl DerefMut<Target = Alive>,
    facts: &F,
    tag: &Tag,
    question: &Q,
) -> Answer {
    let alive: &mut Alive = &mut room;
    facts.ascend(tag, Some(&mut *alive))?;
    alive.each(facts, question)
}

/// Walks from the run up to the one that nobody delegated, and refuses at the first that is not alive. Notes the chain,
/// where it is wanted.
#[inline(always)]
pub fn ascend<F: Facts>(
    facts: &F,
    tag: &Tag,
    mut alive: Option<&mut Alive>,
) -> Result<(), Refusal> {
    if let Some(alive) = &mut alive {
        alive.length = 0;
        alive.capabilities = Capabilities::ALL;
    }
    let mut ascent = Ascent {
        facts,
        now: facts.now(),
        slot: tag.slot,
        generation: tag.generation,
        alive,
        outcome: Err(Fault::Ancestry.into()),
    };
    if ascent.turn(0) == Flow::GoOn {
        facts.repeat(MAX_ANCESTRY - 1, &mut Others(&mut ascent))?;
    }
    ascent.outcome
}

/// From a run to the one that delegated to it.
struct Ascent<'a, F> {
    facts: &'a F,
    now: u64,
    slot: u32,
    generation: u64,
    alive: Option<&'a mut Alive>,
    /// A fault until the last run of the chain has been seen.
    outcome: Result<(), Refusal>,
}

impl<F: Facts> Turn for Ascent<'_, F> {
    #[inline(always)]
    fn turn(&mut self, depth: u32) -> Flow {
        let Some(instance) = self.facts.instance(self.slot) else {
            self.outcome = Err(Fault::InstanceLookup.into());
            return Flow::Stop;
        };
        if let Some(reason) = ended(instance, self.generation, self.now) {
            // A parent that is suspended may come back; any other end of it is the end of this run.
            let reason = match reason {
                _ if depth == 0 => reason,
                Reason::Suspended => Reason::Suspended,
                _ => Reason::AncestorEnded,
            };
            self.outcome = Err(Refusal::denied(reason));
            return Flow::Stop;
        }
        // Writing them takes no longer than a look at another slot, or else somebody is interrupted in it.
        let again = || self.facts.instance(self.slot)?.scopes();
        let Some((policy, params)) = instance.scopes().or_else(again) else {
            self.outcome = Err(Fault::Rebound.into());
            return Flow::Stop;
        };
        if let Some(alive) = &mut self.alive {
            let scopes = Scopes { policy, params };
            alive.chain[depth as usize & (MAX_ANCESTRY as usize - 1)] = scopes;
            alive.capabilities = alive.capabilities.common(instance.capabilities);
            alive.length = depth + 1;
        }
        if instance.parent == NO_SLOT {
            self.outcome = Ok(());
            return Flow::Stop;
        }
        self.slot = instance.parent;
        self.generation = instance.parent_generation;
        Flow::GoOn
    }
}

/// Why this slot does not stand for a live run of that generation, if it does not.
#[inline(always)]
fn ended(instance: &Instance, generation: u64, now: u64) -> Option<Reason> {
    if generation == 0 || instance.generation != generation {
        return Some(Reason::NotLive);
    }
    match instance.state {
        // Also where it is held: who computes meanwhile dies at the deadline like any other.
        State::ACTIVE | State::SUSPENDED if now >= instance.deadline => Some(Reason::Expired),
        State::ACTIVE => None,
        State::SUSPENDED => Some(Reason::Suspended),
        State::REVOKED => Some(Reason::Revoked),
        State::COMPLETED => Some(Reason::Completed),
        State::EXPIRED => Some(Reason::Expired),
        _ => Some(Reason::NotLive),
    }
}
