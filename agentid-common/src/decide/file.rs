//! May a run use the file at this place?

use crate::{
    decide::lifecycle::{Question, Scopes, ask_each_in},
    facts::{Facts, Location},
    file::{AnchorKey, DEAD, EdgeKey, EntryKey, HEADS, Node, Rights},
    glob::{self, Spelling},
    tag::Tag,
    verdict::{Answer, Fault, Reason, Refusal, Rule, TRIPWIRE},
};

/// One head of a search: the state it is in, and the level it was found at or has come down to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub state: u32,
    /// Distance from the file, which is level 0.
    pub level: u32,
}

/// A search for what one run's rules say of one place.
///
/// On the way up it takes the nearest entry of each head, on the way down it follows the names from there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    pub scopes: Scopes,
    pub heads: [Head; HEADS],
}

impl Search {
    #[inline(always)]
    pub fn new(scopes: Scopes) -> Self {
        Self { scopes, heads: [Head { state: DEAD, level: 0 }; HEADS] }
    }

    /// Looks at one folder (or the file itself) on the way up.
    #[inline(always)]
    pub fn visit<F: Facts>(&mut self, facts: &F, key: &AnchorKey, level: u32) {
        if let Some(anchor) = facts.anchor(key) {
            self.enter(facts, self.scopes.params, anchor, level);
            self.enter(facts, self.scopes.policy, anchor, level);
        }
    }

    /// Looks at the root of the filesystem as a member of its type.
    #[inline(always)]
    pub fn visit_type<F: Facts>(&mut self, facts: &F, magic: u64, level: u32) {
        self.visit(facts, &AnchorKey::filesystem_type(magic), level);
    }

    #[inline(always)]
    fn enter<F: Facts>(&mut self, facts: &F, scope: u64, anchor: u32, level: u32) {
        if let Some(entry) = facts.entry(&EntryKey { scope, anchor, reserved: 0 }) {
            for index in 0..HEADS {
                if self.heads[index].state == DEAD && entry.states[index] != DEAD {
                    self.heads[index] = Head { state: entry.states[index], level };
                }
            }
        }
    }

    /// The level of the highest entry found, from which names matter; `None` when there is no entry at all.
    #[inline(always)]
    pub fn top(&self) -> Option<u32> {
        let mut top = None;
        for head in &self.heads {
            if head.state != DEAD && top.is_none_or(|level| level < head.level) {
                top = Some(head.level);
            }
        }
        top
    }

    /// Takes those heads down to the file for which no name on the way matters, as in the folders of a `/usr/**`.
    ///
    /// It comes to what [`Self::descend`] comes to, name by name, and spares reading the names.
    #[inline(always)]
    pub fn leap<F: Facts>(&mut self, facts: &F) -> Result<(), Fault> {
        for head in &mut self.heads {
            if head.state != DEAD && head.level != 0 {
                let first = node(facts, head.state)?;
                if !names_matter(first) && stays(facts, first.other)? {
                    *head = Head { state: first.other, level: 0 };
                }
            }
        }
        Ok(())
    }

    /// Takes those heads that have come to the file's folder on to the file for which its name does not matter. What is
    /// found then holds for every file in the folder, but for one with an entry of its own, which only folders have.
    #[inline(always)]
    pub fn step_over<F: Facts>(&mut self, facts: &F) -> Result<(), Fault> {
        for head in &mut self.heads {
            if head.state != DEAD && head.level == 1 {
                let here = node(facts, head.state)?;
                if !names_matter(here) {
                    *head = Head { state: here.other, level: 0 };
                }
            }
        }
        Ok(())
    }

    /// Follows the name of the file or folder at `level`, with every head that was found above it. Its bytes are looked
    /// at only where the hash does not lead on and globs may.
    #[inline(always)]
    pub fn descend<F: Facts>(
        &mut self,
        facts: &F,
        level: u32,
        hash: u64,
        name: &mut Spelling,
    ) -> Result<(), Fault> {
        for head in &mut self.heads {
            if head.state != DEAD && head.level > level {
                head.state = facts.next(head.state, hash, name)?;
                head.level = level;
            }
        }
        Ok(())
    }

    /// What the heads together say of the rights that are asked.
    #[inline(always)]
    pub fn judge<F: Facts>(&self, facts: &F, want: Rights) -> Answer {
        let mut missing = want;
        let mut rule: Rule = 0;
        let mut denying: u16 = 0;
        let mut known = false;
        for head in &self.heads {
            if head.state != DEAD {
                known = true;
                let node = node(facts, head.state)?;
                let denied = want.intersection(node.deny);
                if !denied.is_empty() && denying & TRIPWIRE == 0 {
                    // Of several the first, unless a tripwire is among them.
                    let number = of(&node.deny_rule, denied);
                    if number == 0 {
                        return Err(Refusal::denied(Reason::DenyRule));
                    }
                    if denying == 0 || number & TRIPWIRE != 0 {
                        denying = number;
                    }
                }
                if rule == 0 {
                    rule = of(&node.allow_rule, want.intersection(node.allow));
                }
                missing = missing.minus(node.allow);
            }
        }
        if denying != 0 {
            Err(Refusal::by_rule(denying))
        } else if missing.is_empty() && known {
            Ok(rule)
        } else {
            Err(Refusal::denied(Reason::NoRule))
        }
    }
}

impl Search {
    /// Everything that the heads together grant.
    #[inline(always)]
    pub fn granted<F: Facts>(&self, facts: &F) -> Result<Rights, Fault> {
        let (mut allow, mut deny) = (Rights::NONE, Rights::NONE);
        for head in &self.heads {
            if head.state != DEAD {
                let node = node(facts, head.state)?;
                allow = allow.union(node.allow);
                deny = deny.union(node.deny);
            }
        }
        Ok(allow.minus(deny))
    }

    /// The state of each head.
    #[inline(always)]
    fn states(&self) -> [u32; HEADS] {
        self.heads.map(|head| head.state)
    }
}

/// A file or folder that gets another name, or one more.
pub struct Move<'a, L> {
    pub from: &'a L,
    pub to: &'a L,
    /// The rights that the new name needs. Those that the old one needs are asked apart.
    pub want: Rights,
    /// A folder is moved, and everything in it along.
    pub folder: bool,
    /// What is at the new place goes to the old one.
    pub exchange: bool,
}

/// The rights that a name needs to be moved away from it.
#[inline(always)]
pub const fn at_old_name(exchange: bool) -> Rights {
    if exchange { Rights::DELETE.union(Rights::CREATE) } else { Rights::DELETE }
}

/// The rights that a name needs to be moved to it. What lies there goes, or goes to the old name.
#[inline(always)]
pub const fn at_new_name(replaced: bool) -> Rights {
    if replaced { Rights::CREATE.union(Rights::DELETE) } else { Rights::CREATE }
}

/// May this run, and every run above it, give a file this name as well or instead?
///
/// Never when it could be used there in a way in which it may not be used here: what a name grants is about the file
/// that lies there, and a run cannot bring another one to it. The rights to create and delete are about the name
/// itself, and need not be the old one's.
#[inline(always)]
pub fn may_move<F: Facts, L: Location>(facts: &F, tag: &Tag, moved: &Move<'_, L>) -> Answer {
    ask_each_in(moved.from.room()?, facts, tag, &MayMove { facts, moved })
}

struct MayMove<'a, F, L> {
    facts: &'a F,
    moved: &'a Move<'a, L>,
}

impl<F: Facts, L: Location> Question for MayMove<'_, F, L> {
    const BEFORE_LOOP: bool = false;

    #[inline(always)]
    fn ask(&self, scopes: &Scopes) -> Answer {
        let (mut states, mut here) = ([DEAD; HEADS], Rights::NONE);
        self.moved.from.search(self.facts, scopes, |search| {
            states = search.states();
            here = self.facts.granted(search)?;
            Ok(0)
        })?;
        self.moved.to.search(self.facts, scopes, |search| {
            let rule = self.facts.judge(search, self.moved.want)?;
            let gains = if self.moved.folder {
                // The rules say the same of both places and of all below them only where each head is in the same state.
                differ(&states, &search.states())
            } else {
                let of_name = Rights::CREATE.union(Rights::DELETE);
                let here = here.minus(of_name);
                let there = self.facts.granted(search)?.minus(of_name);
                !here.contains(there) || self.moved.exchange && !there.contains(here)
            };
            if gains { Err(Refusal::denied(Reason::RightsGained)) } else { Ok(rule) }
        })
    }
}

#[inline(always)]
fn differ(one: &[u32; HEADS], other: &[u32; HEADS]) -> bool {
    let mut bits = 0;
    for index in 0..HEADS {
        bits |= one[index] ^ other[index];
    }
    bits != 0
}

/// May this run, and every run above it, use the file with these rights?
#[inline(always)]
pub fn may_access<F: Facts, L: Location>(facts: &F, tag: &Tag, place: &L, want: Rights) -> Answer {
    let question = MayAccess::<F, L, true> { facts, place, want };
    ask_each_in(place.room()?, facts, tag, &question)
}

/// The same of what is opened: a device node that lies where anyone can put it is not what its path says.
#[inline(always)]
pub fn may_open<F: Facts, L: Location>(facts: &F, tag: &Tag, place: &L, want: Rights) -> Answer {
    let rule = may_access(facts, tag, place, want)?;
    let opens = !want.intersection(Rights::READ.union(Rights::WRITE)).is_empty();
    if opens && place.is_foreign_device() {
        return Err(Refusal::denied(Reason::DeviceNode));
    }
    Ok(rule)
}

/// As [`may_access`], for a program that has no stack left to ask before the loop.
#[inline(always)]
pub fn may_access_from_loop<F: Facts, L: Location>(
    facts: &F,
    tag: &Tag,
    place: &L,
    want: Rights,
) -> Answer {
    let question = MayAccess::<F, L, false> { facts, place, want };
    ask_each_in(place.room()?, facts, tag, &question)
}

struct MayAccess<'a, F, L, const BEFORE_LOOP: bool> {
    facts: &'a F,
    place: &'a L,
    want: Rights,
}

impl<F: Facts, L: Location, const BEFORE_LOOP: bool> Question for MayAccess<'_, F, L, BEFORE_LOOP> {
    const BEFORE_LOOP: bool = BEFORE_LOOP;

    #[inline(always)]
    fn ask(&self, scopes: &Scopes) -> Answer {
        self.place.search(self.facts, scopes, |search| self.facts.judge(search, self.want))
    }
}

/// Where a name leads from a state.
#[inline(always)]
pub fn next<F: Facts>(facts: &F, state: u32, hash: u64, name: &mut Spelling) -> Result<u32, Fault> {
    let node = node(facts, state)?;
    if node.edges != 0
        && let Some(target) = of_name(facts, state, hash)
    {
        return Ok(target);
    }
    if node.globs == 0 {
        return Ok(node.other);
    }
    match glob::fitting(facts, node.globs, name)? {
        0 => Ok(node.other),
        set => of_set(facts, state, set),
    }
}

/// Where this name leads, if it leads elsewhere than others do. Not inlined: the key is off the stack while globs are
/// compared.
#[inline(never)]
fn of_name<F: Facts>(facts: &F, state: u32, hash: u64) -> Option<u32> {
    facts.edge(&EdgeKey::of_name(state, hash))
}

/// Where names lead that fit these globs of a state. Each set has an edge, also where it leads to where other names
/// lead. Not inlined for the same reason.
#[inline(never)]
fn of_set<F: Facts>(facts: &F, state: u32, set: u32) -> Result<u32, Fault> {
    facts.edge(&EdgeKey::of_globs(state, set)).ok_or(Fault::StateLookup)
}

/// Whether not all names lead from this state to the same one.
#[inline(always)]
fn names_matter(node: &Node) -> bool {
    node.edges != 0 || node.globs != 0
}

/// Whether every name leads from this state to itself.
#[inline(always)]
fn stays<F: Facts>(facts: &F, state: u32) -> Result<bool, Fault> {
    if state == DEAD {
        return Ok(true);
    }
    let node = node(facts, state)?;
    Ok(!names_matter(node) && node.other == state)
}

#[inline(always)]
fn node<F: Facts>(facts: &F, state: u32) -> Result<&Node, Fault> {
    facts.node(state).ok_or(Fault::StateLookup)
}

#[inline(always)]
fn of(rules: &[u16; crate::file::RIGHTS], rights: Rights) -> Rule {
    if rights.is_empty() { 0 } else { rules[rights.lowest() % crate::file::RIGHTS] }
}
