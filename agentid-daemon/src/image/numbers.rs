//! The numbers by which the maps refer to each other, and how much room the maps still have.
//!
//! Numbers of anchors, states, globs and classes are used again after [`Numbers::release`]; scopes and generations never are.

use std::collections::BTreeMap;

use agentid_common::{file::AnchorKey, map};

use super::{diff::MapOp, pool::Pool};

/// How many elements of each map something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub anchors: u32,
    pub entries: u32,
    pub nodes: u32,
    pub edges: u32,
    pub globs: u32,
    pub peers: u32,
    pub ports: u32,
}

/// A map that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} {table} are needed, and {free} of {capacity} are free")]
pub struct Full {
    pub table: &'static str,
    pub needed: u32,
    pub free: u32,
    pub capacity: u32,
}

/// What a compiled policy or a binding occupies until it is given to [`Numbers::release`].
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "the numbers stay taken until they are released"]
pub struct Held {
    pub(super) anchors: Vec<AnchorKey>,
    pub(super) nodes: Vec<u32>,
    pub(super) globs: Vec<u32>,
    pub(super) classes: Vec<u32>,
    pub(super) need: Need,
}

/// The owner of all numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The next scope or generation; they share one sequence.
    next: u64,
    nodes: Pool,
    globs: Pool,
    classes: Pool,
    anchor_numbers: Pool,
    anchors: BTreeMap<AnchorKey, Anchor>,
    used: Need,
}

/// An anchor in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    number: u32,
    users: u32,
}

impl Numbers {
    /// For empty maps. `next` must be greater than every scope and generation that this host has ever used.
    pub fn new(next: u64) -> Self {
        Self {
            next: next.max(1),
            nodes: Pool::new(),
            globs: Pool::new(),
            classes: Pool::new(),
            anchor_numbers: Pool::new(),
            anchors: BTreeMap::new(),
            used: Need::default(),
        }
    }

    /// For maps that hold something already: `anchors` with their numbers, and the rest of `held`.
    pub(super) fn beside(next: u64, held: &Held, anchors: &BTreeMap<AnchorKey, u32>) -> Self {
        Self {
            next: next.max(1),
            nodes: Pool::without(held.nodes.iter().copied()),
            globs: Pool::without(held.globs.iter().copied()),
            classes: Pool::without(held.classes.iter().copied()),
            anchor_numbers: Pool::without(anchors.values().copied()),
            anchors: anchors
                .iter()
                .map(|(key, &number)| (*key, Anchor { number, users: 1 }))
                .collect(),
            used: held.need,
        }
    }

    /// A scope or a generation that was never used before.
    pub fn unique(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The lowest number that was not given out: what has to be kept for the time after a restart.
    pub fn high_water(&self) -> u64 {
        self.next
    }

    /// Fails when the maps have no room for that much more.
    pub(super) fn check(&self, need: &Need) -> Result<(), Full> {
        let rows = [
            ("anchors", need.anchors, self.anchors.len() as u32, map::ANCHORS),
            ("entries", need.entries, self.used.entries, map::ENTRIES),
            // State 0 is the dead one, and takes an element of the array.
            ("states", need.nodes, self.used.nodes, map::NODES - 1),
            ("edges", need.edges, self.used.edges, map::EDGES),
            // Number 0 ends a list, and takes an element of the array.
            ("patterns of names", need.globs, self.used.globs, map::GLOBS - 1),
            ("address prefixes", need.peers, self.used.peers, map::PEERS),
            ("port prefixes", need.ports, self.used.ports, map::PORTS),
        ];
        for (table, needed, used, capacity) in rows {
            let free = capacity.saturating_sub(used);
            if needed > free {
                return Err(Full { table, needed, free, capacity });
            }
        }
        Ok(())
    }

    /// Counts the elements as taken, for `held`.
    pub(super) fn take(&mut self, held: &mut Held, need: &Need) {
        self.used = self.used.plus(need);
        held.need = held.need.plus(need);
    }

    pub(super) fn node(&mut self, held: &mut Held) -> u32 {
        let number = self.nodes.take();
        held.nodes.push(number);
        number
    }

    pub(super) fn glob(&mut self, held: &mut Held) -> u32 {
        let number = self.globs.take();
        held.globs.push(number);
        number
    }

    pub(super) fn class(&mut self, held: &mut Held) -> u32 {
        let number = self.classes.take();
        held.classes.push(number);
        number
    }

    /// The number of an anchor, which is the same for all who use it.
    pub(super) fn anchor(&mut self, held: &mut Held, key: AnchorKey) -> u32 {
        let pool = &mut self.anchor_numbers;
        let anchor =
            self.anchors.entry(key).or_insert_with(|| Anchor { number: pool.take(), users: 0 });
        anchor.users += 1;
        held.anchors.push(key);
        anchor.number
    }

    /// Makes the numbers free for others, and says which anchors have lost their last user.
    ///
    /// To be called when the removal has been carried out: a number that is given out again must not be found under
    /// what it meant before.
    pub fn release(&mut self, held: Held) -> Vec<MapOp> {
        let mut ops = Vec::new();
        for key in held.anchors {
            if let Some(anchor) = self.anchors.get_mut(&key) {
                anchor.users -= 1;
                if anchor.users == 0 {
                    self.anchor_numbers.give(anchor.number);
                    self.anchors.remove(&key);
                    ops.push(MapOp::RemoveAnchor(key));
                }
            }
        }
        if !ops.is_empty() {
            // No hook may find an anchor's number in its old sense and an entry in its new one.
            ops.push(MapOp::Synchronize);
        }
        held.nodes.into_iter().for_each(|number| self.nodes.give(number));
        held.globs.into_iter().for_each(|number| self.globs.give(number));
        held.classes.into_iter().for_each(|number| self.classes.give(number));
        self.used = self.used.minus(&held.need);
        ops
    }

    /// How many of these anchors nobody uses yet.
    pub(super) fn new_anchors<'a>(&self, keys: impl Iterator<Item = &'a AnchorKey>) -> u32 {
        keys.filter(|key| !self.anchors.contains_key(key)).count() as u32
    }
}

impl Need {
    fn plus(&self, other: &Self) -> Self {
        Self {
            anchors: self.anchors + other.anchors,
            entries: self.entries + other.entries,
            nodes: self.nodes + other.nodes,
            edges: self.edges + other.edges,
            globs: self.globs + other.globs,
            peers: self.peers + other.peers,
            ports: self.ports + other.ports,
        }
    }

    fn minus(&self, other: &Self) -> Self {
        Self {
            anchors: self.anchors.saturating_sub(other.anchors),
            entries: self.entries.saturating_sub(other.entries),
            nodes: self.nodes.saturating_sub(other.nodes),
            edges: self.edges.saturating_sub(other.edges),
            globs: self.globs.saturating_sub(other.globs),
            peers: self.peers.saturating_sub(other.peers),
            ports: self.ports.saturating_sub(other.ports),
        }
    }
}
