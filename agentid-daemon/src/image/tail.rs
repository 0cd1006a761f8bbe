//! What is left of patterns, each rest stored once.
//!
//! A pattern is a chain of steps with a rule at its end. Equal ends of chains are the same **tail**, so that two
//! patterns which have become equal, such as one pattern on two mounts, lead to the same states.

use std::collections::{BTreeMap, BTreeSet};

use agentid_common::{
    file::{Node, RIGHTS, Rights},
    glob::fits,
    verdict::{TRIPWIRE, telling},
};

use super::terrain::Name;
use crate::policy::Component;

/// One step of a pattern in the bytes of the filesystem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Name(Name),
    /// Every name that fits.
    Glob(Name),
    /// Any number of names.
    Any,
}

/// The steps of a pattern as its policy has them.
pub(super) fn steps(components: &[Component]) -> Vec<Step> {
    components
        .iter()
        .map(|component| match component {
            Component::Name(name) => Step::Name(name.clone().into_bytes()),
            Component::Glob(glob) => Step::Glob(glob.clone().into_bytes()),
            Component::Any => Step::Any,
        })
        .collect()
}

/// What a rule says of the files that its patterns name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// From 1, in the order of the document.
    pub(super) rule: u16,
    pub(super) allow: Rights,
    pub(super) deny: Rights,
    /// Whether who meets the denial is ended.
    pub(super) tripwire: bool,
}

impl Verdict {
    /// Whether `other` changes nothing where this verdict holds as well.
    fn outweighs(&self, other: &Self) -> bool {
        let first = self.rule <= other.rule;
        let telling = telling(self.denying(), other.denying()) == self.denying();
        let granted = other.allow.minus(self.deny);
        (other.deny.is_empty() || telling && self.deny.contains(other.deny))
            && (granted.is_empty() || first && self.allow.contains(granted))
    }

    /// Its number as a rule that denies.
    fn denying(&self) -> u16 {
        if self.tripwire { self.rule | TRIPWIRE } else { self.rule }
    }
}

/// Number of a tail.
pub(super) type TailId = usize;

/// A set of tails that holds, with each `**`, also what follows it.
pub(super) type Tails = BTreeSet<TailId>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tail {
    /// The pattern ends here; index of its verdict.
    End(usize),
    Name(Name, TailId),
    Glob(Name, TailId),
    Any(TailId),
}

/// The tails of all patterns of a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    tails: Vec<Tail>,
    known: BTreeMap<Tail, TailId>,
    verdicts: Vec<Verdict>,
}

impl Store {
    /// The rule to which the next patterns belong.
    pub(super) fn rule(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    /// A pattern of the latest rule.
    pub(super) fn pattern(&mut self, steps: impl DoubleEndedIterator<Item = Step>) -> TailId {
        let mut tail = self.intern(Tail::End(self.verdicts.len().saturating_sub(1)));
        for step in steps.rev() {
            tail = match (step, &self.tails[tail]) {
                (Step::Name(name), _) => self.intern(Tail::Name(name, tail)),
                (Step::Glob(glob), _) => self.intern(Tail::Glob(glob, tail)),
                (Step::Any, Tail::Any(_)) => tail,
                (Step::Any, _) => self.intern(Tail::Any(tail)),
            };
        }
        tail
    }

    fn intern(&mut self, tail: Tail) -> TailId {
        let next = self.tails.len();
        let id = *self.known.entry(tail.clone()).or_insert(next);
        if id == next {
            self.tails.push(tail);
        }
        id
    }

    /// Leaves out what can no longer matter: what ends as a pattern that may begin here or anywhere below, and, where
    /// a verdict holds for all that follows, the patterns whose verdicts it outweighs. Without this, there are as many
    /// states as combinations of such patterns.
    pub(super) fn prune(&self, set: &Tails) -> Tails {
        let lasting: Vec<(TailId, usize)> = set
            .iter()
            .filter_map(|&tail| match self.tails[tail] {
                Tail::Any(rest) => match self.tails[rest] {
                    Tail::End(verdict) => Some((tail, verdict)),
                    Tail::Name(..) | Tail::Glob(..) | Tail::Any(_) => None,
                },
                Tail::Name(..) | Tail::Glob(..) | Tail::End(_) => None,
            })
            .collect();
        set.iter().copied().filter(|&tail| self.matters(tail, set, &lasting)).collect()
    }

    fn matters(&self, tail: TailId, set: &Tails, lasting: &[(TailId, usize)]) -> bool {
        let mut end = tail;
        while let Tail::Any(rest) | Tail::Name(_, rest) | Tail::Glob(_, rest) = self.tails[end] {
            end = rest;
            if matches!(self.tails[end], Tail::Any(_)) && set.contains(&end) {
                return false;
            }
        }
        let Tail::End(own) = self.tails[end] else { return true };
        lasting.iter().all(|&(other, verdict)| {
            let itself = verdict == own && (tail == other || tail == end);
            itself || !self.verdicts[verdict].outweighs(&self.verdicts[own])
        })
    }

    /// Adds the tail, and what follows its `**`.
    pub(super) fn add(&self, set: &mut Tails, tail: TailId) {
        set.insert(tail);
        if let Tail::Any(rest) = self.tails[tail] {
            set.insert(rest);
        }
    }

    /// What is left after a name that no pattern spells out and no glob fits, but those that every name fits.
    pub(super) fn after_any_name(&self, set: &Tails) -> Tails {
        let mut left = Tails::new();
        for &tail in set {
            match &self.tails[tail] {
                Tail::Any(_) => self.add(&mut left, tail),
                Tail::Glob(glob, rest) if every(glob) => self.add(&mut left, *rest),
                Tail::Name(..) | Tail::Glob(..) | Tail::End(_) => {}
            }
        }
        left
    }

    /// By each name that a pattern spells out: what is left after it. Includes what its globs leave.
    pub(super) fn after_each_name(&self, set: &Tails) -> BTreeMap<Name, Tails> {
        let mut left: BTreeMap<Name, Tails> = BTreeMap::new();
        for &tail in set {
            if let Tail::Name(name, rest) = &self.tails[tail] {
                let otherwise = || self.after_globs(set, |glob| fits(glob, name));
                self.add(left.entry(name.clone()).or_insert_with(otherwise), *rest);
            }
        }
        left
    }

    /// The globs that a name has to be compared with.
    pub(super) fn globs(&self, set: &Tails) -> Vec<Name> {
        let globs = set.iter().filter_map(|&tail| match &self.tails[tail] {
            Tail::Glob(glob, _) if !every(glob) => Some(glob.clone()),
            Tail::Name(..) | Tail::Glob(..) | Tail::Any(_) | Tail::End(_) => None,
        });
        globs.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What is left after a name that no pattern spells out and that fits these globs.
    pub(super) fn after_globs(&self, set: &Tails, fits: impl Fn(&Name) -> bool) -> Tails {
        let mut left = self.after_any_name(set);
        for &tail in set {
            if let Tail::Glob(glob, rest) = &self.tails[tail]
                && fits(glob)
            {
                self.add(&mut left, *rest);
            }
        }
        left
    }

    /// What the patterns that end here say: of each right, the first rule that allows it and the telling one that denies.
    pub(super) fn node(&self, set: &Tails) -> Node {
        let mut node = Node::default();
        for &tail in set {
            if let Tail::End(index) = self.tails[tail] {
                let verdict = &self.verdicts[index];
                node.allow = node.allow.union(verdict.allow);
                node.deny = node.deny.union(verdict.deny);
                first(&mut node.allow_rule, verdict.allow, verdict.rule);
                first(&mut node.deny_rule, verdict.deny, verdict.denying());
            }
        }
        node
    }
}

/// Whether every name fits, so that none has to be looked at.
fn every(glob: &Name) -> bool {
    glob == b"*"
}

/// Of rules that allow there is no tripwire, so for them the telling one is the first.
fn first(rules: &mut [u16; RIGHTS], rights: Rights, number: u16) {
    for (index, rule) in rules.iter_mut().enumerate() {
        if rights.contains(Rights(1 << index)) {
            *rule = telling(*rule, number);
        }
    }
}
