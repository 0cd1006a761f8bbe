//! The writes that make a compiled policy known, and those that take it back.

use std::collections::BTreeMap;

use agentid_common::{
    file::{AnchorKey, DEAD, EdgeKey, Entry, EntryKey, Glob, Node},
    name::{self, NameKey},
    net::{Address, PEER_SCOPE_BITS, PORT_CLASS_BITS, PeerKey, PortKey},
};

use super::{
    automaton::{Automaton, State},
    diff::MapOp,
    globs,
    net::Table,
    numbers::{Held, Need, Numbers},
    terrain::Name,
};
use crate::policy::Prefix;

/// What undoes the writes, those first by which a decision begins.
#[derive(Default)]
pub(super) struct Removal {
    pub(super) roots: Vec<MapOp>,
    pub(super) rest: Vec<MapOp>,
}

impl Removal {
    /// A hook that runs meanwhile finds either no root, or all that it leads to.
    pub(super) fn into_ops(self) -> Vec<MapOp> {
        let mut ops = self.roots;
        ops.push(MapOp::Synchronize);
        ops.extend(self.rest);
        ops.push(MapOp::Synchronize);
        ops
    }
}

/// The writes of one policy in the making.
pub(super) struct Emit<'n> {
    numbers: &'n mut Numbers,
    pub(super) scope: u64,
    pub(super) ops: Vec<MapOp>,
    pub(super) removal: Removal,
    pub(super) held: Held,
}

impl<'n> Emit<'n> {
    pub(super) fn new(numbers: &'n mut Numbers, need: Need) -> Self {
        let mut held = Held::default();
        numbers.take(&mut held, &need);
        let scope = numbers.unique();
        Self { numbers, scope, ops: Vec::new(), removal: Removal::default(), held }
    }

    fn set(&mut self, set: MapOp, remove: MapOp) {
        self.ops.push(set);
        self.removal.rest.push(remove);
    }

    fn set_root(&mut self, set: MapOp, remove: MapOp) {
        self.ops.push(set);
        self.removal.roots.push(remove);
    }

    /// Gives each state its number; the result is indexed by state.
    pub(super) fn automaton(&mut self, automaton: &Automaton, names: &NameKey) -> Vec<u32> {
        let mut nodes = vec![DEAD];
        nodes.extend(automaton.live().map(|_| self.numbers.node(&mut self.held)));
        let lists = self.globs(automaton);
        for (place, &state) in automaton.live().zip(&nodes[1..]) {
            let edges = place.edges.len() as u32;
            let globs = lists.get(place.globs.as_slice()).copied().unwrap_or_default();
            let node = Node { other: nodes[place.other], globs, edges, ..place.node };
            self.set(MapOp::SetNode(state, node), MapOp::RemoveNode(state));
            for (name, &target) in &place.edges {
                self.edge(EdgeKey::of_name(state, name::hash(names, name)), nodes[target]);
            }
            for (set, &target) in (1..).zip(&place.sets) {
                self.edge(EdgeKey::of_globs(state, set), nodes[target]);
            }
        }
        nodes
    }

    fn edge(&mut self, key: EdgeKey, target: u32) {
        self.set(MapOp::SetEdge(key, target), MapOp::RemoveEdge(key));
    }

    /// Gives each glob of each list its number; the result says where a list begins.
    fn globs<'a>(&mut self, automaton: &'a Automaton) -> BTreeMap<&'a [Name], u32> {
        let ends = globs::ends(automaton);
        let numbers: BTreeMap<&[Name], u32> =
            ends.iter().map(|end| (*end, self.numbers.glob(&mut self.held))).collect();
        for (end, &number) in &numbers {
            // A pattern that is too long is no policy's.
            if let [first, rest @ ..] = end
                && let Some(glob) = Glob::new(first)
            {
                let next = numbers.get(rest).copied().unwrap_or_default();
                let glob = Glob { next, ..glob };
                self.set(MapOp::SetGlob(number, glob), MapOp::RemoveGlob(number));
            }
        }
        numbers
    }

    pub(super) fn entries<'a>(
        &mut self,
        anchored: impl Iterator<Item = (&'a AnchorKey, State)>,
        nodes: &[u32],
    ) {
        for (&key, state) in anchored {
            let anchor = self.numbers.anchor(&mut self.held, key);
            self.ops.push(MapOp::SetAnchor(key, anchor));
            let entry = Entry { states: [nodes[state], DEAD, DEAD, DEAD] };
            let key = EntryKey { scope: self.scope, anchor, reserved: 0 };
            self.set_root(MapOp::SetEntry(key, entry), MapOp::RemoveEntry(key));
        }
    }

    /// Gives each class its number; the result is indexed as the table's.
    pub(super) fn nets(&mut self, table: &Table) -> Vec<u32> {
        let mut classes = Vec::new();
        for lines in &table.classes {
            let class = self.numbers.class(&mut self.held);
            classes.push(class);
            for line in lines {
                let (port, verb) = (line.port.to_be_bytes(), line.verb as u8);
                let key = PortKey { class, verb, protocol: line.protocol, port };
                let bits = PORT_CLASS_BITS + line.bits;
                let set = MapOp::SetPort { key, bits, rule: line.port_rule() };
                self.set(set, MapOp::RemovePort { key, bits });
            }
        }
        for (prefix, &class) in &table.peers {
            let (key, bits) = self.peer(prefix);
            let set = MapOp::SetPeer { key, bits, class: classes[class] };
            self.set_root(set, MapOp::RemovePeer { key, bits });
        }
        classes
    }

    fn peer(&self, prefix: &Prefix) -> (PeerKey, u32) {
        let address = Address::v6(prefix.address().octets());
        (PeerKey { scope: self.scope, address }, PEER_SCOPE_BITS + u32::from(prefix.bits()))
    }
}
