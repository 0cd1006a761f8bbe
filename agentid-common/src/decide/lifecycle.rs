//! Is the run alive, and every run that it stands on?

use crate::{
    facts::Facts,
    instance::{Instance, Ladder, MAX_ANCESTRY, NO_SLOT, State},
    tag::Tag,
    verdict::{Fault, Mode, Reason, Refusal, Rule},
};

/// The rules of one run in a chain of delegation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    pub policy: u64,
    pub params: u64,
}

/// Proof that a run is alive, with the rules that hold it: its own first, then those of each run above it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alive {
    pub chain: [Scopes; MAX_ANCESTRY as usize],
    pub length: u32,
}

/// How a run is treated that is asked about; read even when the run is dead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub mode: Mode,
    pub ladder: Ladder,
    /// Whether the slot still belongs to the tag's run, so that its activity may be counted there.
    pub owned: bool,
}

/// May a task of this run start another task?
#[inline(always)]
pub fn may_start<F: Facts>(facts: &F, tag: &Tag) -> Result<Rule, Refusal> {
    alive(facts, tag).map(|_| 0)
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

/// Walks from the run up to the one that nobody delegated, and refuses at the first that is not alive.
#[inline(always)]
pub fn alive<F: Facts>(facts: &F, tag: &Tag) -> Result<Alive, Refusal> {
    let now = facts.now();
    let mut alive = Alive::default();
    let mut slot = tag.slot;
    let mut generation = tag.generation;
    for depth in 0..MAX_ANCESTRY {
        let instance = facts.instance(slot).ok_or(Fault::InstanceLookup)?;
        if let Some(reason) = ended(instance, generation, now) {
            return Err(Refusal::denied(if depth == 0 { reason } else { Reason::AncestorEnded }));
        }
        alive.chain[depth as usize] = Scopes { policy: instance.policy, params: instance.params };
        alive.length = depth + 1;
        if instance.parent == NO_SLOT {
            return Ok(alive);
        }
        slot = instance.parent;
        generation = instance.parent_generation;
    }
    Err(Fault::Ancestry.into())
}

/// Why this slot does not stand for a live run of that generation, if it does not.
#[inline(always)]
fn ended(instance: &Instance, generation: u64, now: u64) -> Option<Reason> {
    if generation == 0 || instance.generation != generation {
        return Some(Reason::NotLive);
    }
    match instance.state {
        State::ACTIVE if now >= instance.deadline => Some(Reason::Expired),
        State::ACTIVE => None,
        State::SUSPENDED => Some(Reason::Suspended),
        State::REVOKED => Some(Reason::Revoked),
        State::COMPLETED => Some(Reason::Completed),
        State::EXPIRED => Some(Reason::Expired),
        _ => Some(Reason::NotLive),
    }
}
