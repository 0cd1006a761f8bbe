//! The daemon's copy of the maps: what a decision on the host is made from.

use std::collections::BTreeMap;

use agentid_common::{
    decide::lifecycle::OnStack,
    facts::{Facts, Turn, plain_loop},
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, Node},
    instance::{Activity, Instance},
    map::SLOTS,
    net::{Address, PEER_SCOPE_BITS, PORT_CLASS_BITS, PeerKey, Pins, PortKey, PortRule},
    verdict::Fault,
};

use super::diff::MapOp;

/// All maps, by key. Prefixes are kept with the number of bits that count, the others zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(super) instances: BTreeMap<u32, Instance>,
    pub(super) activities: BTreeMap<u32, Activity>,
    pub(super) anchors: BTreeMap<AnchorKey, u32>,
    pub(super) entries: BTreeMap<EntryKey, Entry>,
    pub(super) nodes: BTreeMap<u32, Node>,
    pub(super) globs: BTreeMap<u32, Glob>,
    pub(super) edges: BTreeMap<EdgeKey, u32>,
    pub(super) peers: BTreeMap<(PeerKey, u32), u32>,
    pub(super) ports: BTreeMap<(PortKey, u32), PortRule>,
    pub(super) pins: BTreeMap<PeerKey, Pins>,
}

impl Image {
    /// Does to the copy what the kernel module does to the maps.
    pub fn apply(&mut self, op: &MapOp) {
        match *op {
            MapOp::SetAnchor(key, number) => drop(self.anchors.insert(key, number)),
            MapOp::RemoveAnchor(key) => drop(self.anchors.remove(&key)),
            MapOp::SetNode(state, node) => drop(self.nodes.insert(state, node)),
            MapOp::RemoveNode(state) => drop(self.nodes.remove(&state)),
            MapOp::SetGlob(index, glob) => drop(self.globs.insert(index, glob)),
            MapOp::RemoveGlob(index) => drop(self.globs.remove(&index)),
            MapOp::SetEdge(key, target) => drop(self.edges.insert(key, target)),
            MapOp::RemoveEdge(key) => drop(self.edges.remove(&key)),
            MapOp::SetEntry(key, entry) => drop(self.entries.insert(key, entry)),
            MapOp::RemoveEntry(key) => drop(self.entries.remove(&key)),
            MapOp::SetPeer { key, bits, class } => {
                self.peers.insert((peer_prefix(key, bits), bits), class);
            }
            MapOp::RemovePeer { key, bits } => {
                self.peers.remove(&(peer_prefix(key, bits), bits));
            }
            MapOp::SetPort { key, bits, rule } => {
                self.ports.insert((port_prefix(key, bits), bits), rule);
            }
            MapOp::RemovePort { key, bits } => {
                self.ports.remove(&(port_prefix(key, bits), bits));
            }
            MapOp::SetPins(key, pins) => drop(self.pins.insert(key, pins)),
            MapOp::RemovePins(key) => drop(self.pins.remove(&key)),
            MapOp::SetInstance(slot, instance) => drop(self.instances.insert(slot, instance)),
            MapOp::SetActivity(slot, activity) => drop(self.activities.insert(slot, activity)),
            MapOp::SetState(slot, state) => self.instances.entry(slot).or_default().state = state,
            MapOp::SetDeadline(slot, deadline) => {
                self.instances.entry(slot).or_default().deadline = deadline;
            }
            MapOp::Bind(slot, rules) => {
                let instance = self.instances.entry(slot).or_default();
                *instance = rules.of(*instance);
            }
            MapOp::Synchronize => {}
        }
    }

    pub fn apply_all(&mut self, ops: &[MapOp]) {
        ops.iter().for_each(|op| self.apply(op));
    }

    /// The pins of a run, by the scope of its parameters.
    pub fn pins_of(&self, scope: u64) -> impl Iterator<Item = (Address, &Pins)> {
        let first = PeerKey { scope, address: Address::default() };
        let of_run = self.pins.range(first..).take_while(move |(key, _)| key.scope == scope);
        of_run.map(|(key, pins)| (key.address, pins))
    }

    /// The image at a moment, in nanoseconds of `CLOCK_BOOTTIME`.
    pub fn at(&self, now: u64) -> View<'_> {
        View { image: self, now }
    }
}

/// An image at a moment: enough for a decision.
#[derive(Clone, Copy, Debug)]
pub struct View<'i> {
    pub image: &'i Image,
    pub now: u64,
}

/// A slot that holds no run; the table is an array, and has a value in each of its slots.
static FREE: Instance = Instance {
    generation: 0,
    deadline: 0,
    policy: 0,
    params: 0,
    bond: 0,
    capabilities: agentid_common::capability::Capabilities::NONE,
    parent_generation: 0,
    parent: 0,
    state: agentid_common::instance::State::FREE,
    mode: agentid_common::verdict::Mode::ENFORCE,
    ladder: agentid_common::instance::Ladder::DENY,
    invocation: agentid_common::tag::InvocationId([0; 16]),
    names: 0,
    reserved: 0,
};

impl Facts for View<'_> {
    type Room = OnStack;

    fn room(&self) -> Result<OnStack, Fault> {
        Ok(OnStack::default())
    }

    fn repeat<T: Turn>(&self, count: u32, turns: &mut T) -> Result<(), Fault> {
        plain_loop(count, turns);
        Ok(())
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn instance(&self, slot: u32) -> Option<&Instance> {
        (slot < SLOTS).then(|| self.image.instances.get(&slot).unwrap_or(&FREE))
    }

    fn anchor(&self, key: &AnchorKey) -> Option<u32> {
        self.image.anchors.get(key).copied()
    }

    fn entry(&self, key: &EntryKey) -> Option<&Entry> {
        self.image.entries.get(key)
    }

    fn edge(&self, key: &EdgeKey) -> Option<u32> {
        self.image.edges.get(key).copied()
    }

    fn node(&self, state: u32) -> Option<&Node> {
        self.image.nodes.get(&state)
    }

    fn glob(&self, index: u32) -> Option<&Glob> {
        self.image.globs.get(&index)
    }

    fn class(&self, key: &PeerKey) -> Option<u32> {
        let bits = (PEER_SCOPE_BITS..=PEER_SCOPE_BITS + 128).rev();
        bits.map(|bits| (peer_prefix(*key, bits), bits))
            .find_map(|prefix| self.image.peers.get(&prefix).copied())
    }

    fn pins(&self, key: &PeerKey) -> Option<&Pins> {
        self.image.pins.get(key)
    }

    fn port_rule(&self, key: &PortKey) -> Option<PortRule> {
        let bits = (PORT_CLASS_BITS..=PORT_CLASS_BITS + 16).rev();
        bits.map(|bits| (port_prefix(*key, bits), bits))
            .find_map(|prefix| self.image.ports.get(&prefix).copied())
    }
}

/// The key with the bits cleared that do not count.
fn peer_prefix(key: PeerKey, bits: u32) -> PeerKey {
    let rest = (PEER_SCOPE_BITS + 128).saturating_sub(bits);
    let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
    let address = u128::from_be_bytes(key.address.0) & mask;
    PeerKey { scope: key.scope, address: Address(address.to_be_bytes()) }
}

/// The key with the bits cleared that do not count.
fn port_prefix(key: PortKey, bits: u32) -> PortKey {
    let rest = (PORT_CLASS_BITS + 16).saturating_sub(bits);
    let mask = u16::MAX.checked_shl(rest).unwrap_or(0);
    let port = u16::from_be_bytes(key.port) & mask;
    PortKey { port: port.to_be_bytes(), ..key }
}
