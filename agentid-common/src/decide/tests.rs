//! The decisions, over tables that hold what each test puts there.

extern crate std;

mod ancestry;
mod capabilities;
mod files;
mod globs;
mod leaping;
mod liveness;
mod moves;
mod nets;
mod settling;
mod sockets;

use std::{collections::BTreeMap, string::ToString, vec::Vec};

use crate::{
    decide::{
        file::{Search, may_access},
        lifecycle::{OnStack, Scopes, alive, may_go_on, standing},
        net::{may_go_on_with, may_use},
        packet::{Ends, Packet, Way, may_pass},
        unix::{self, may_be_called, may_talk},
    },
    facts::{Facts, Location, Turn, plain_loop},
    file::{AnchorKey, DEAD, EdgeKey, Entry, EntryKey, Glob, HEADS, Node, RIGHTS, Rights, SOCKETS},
    glob::Spelling,
    instance::{Instance, Ladder, MAX_ANCESTRY, NO_SLOT, State},
    net::{Address, Peer, PeerKey, Pin, Pins, PortKey, PortRule, TCP, UDP, Verb},
    tag::{InvocationId, Tag},
    verdict::{
        Answer, EACCES, EPERM, Fault, Mode, Packed, Reason, Refusal, Rule, Settled, TRIPWIRE,
        Verdict, settle,
    },
};

/// A table of slots, and for each map what a test puts there.
#[derive(Default)]
struct Tables {
    now: u64,
    instances: BTreeMap<u32, Instance>,
    anchors: BTreeMap<AnchorKey, u32>,
    entries: BTreeMap<EntryKey, Entry>,
    edges: BTreeMap<EdgeKey, u32>,
    nodes: BTreeMap<u32, Node>,
    globs: BTreeMap<u32, Glob>,
    classes: BTreeMap<PeerKey, u32>,
    pins: BTreeMap<PeerKey, Pins>,
    ports: BTreeMap<PortKey, PortRule>,
}

impl Facts for Tables {
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
        self.instances.get(&slot)
    }
    fn anchor(&self, key: &AnchorKey) -> Option<u32> {
        self.anchors.get(key).copied()
    }
    fn entry(&self, key: &EntryKey) -> Option<&Entry> {
        self.entries.get(key)
    }
    fn edge(&self, key: &EdgeKey) -> Option<u32> {
        self.edges.get(key).copied()
    }
    fn node(&self, state: u32) -> Option<&Node> {
        self.nodes.get(&state)
    }
    fn glob(&self, index: u32) -> Option<&Glob> {
        self.globs.get(&index)
    }
    fn class(&self, key: &PeerKey) -> Option<u32> {
        self.classes.get(key).copied()
    }
    fn pins(&self, key: &PeerKey) -> Option<&Pins> {
        self.pins.get(key)
    }
    fn port_rule(&self, key: &PortKey) -> Option<PortRule> {
        self.ports.get(key).copied()
    }
}

const SLOT: u32 = 3;
const TAG: Tag = Tag { generation: 10, slot: SLOT, mark: 0, invocation: InvocationId([1; 16]) };
const DEADLINE: u64 = 1_000;
/// Scopes of the run in [`SLOT`].
const POLICY: u64 = 100;
const PARAMS: u64 = 200;

fn instance(generation: u64) -> Instance {
    Instance {
        generation,
        deadline: DEADLINE,
        parent: NO_SLOT,
        state: State::ACTIVE,
        ..Instance::default()
    }
    .bound_to(POLICY, PARAMS)
}

fn tables() -> Tables {
    let mut tables = Tables { now: 500, ..Tables::default() };
    tables.instances.insert(SLOT, instance(TAG.generation));
    tables
}

impl Tables {
    fn run(&mut self) -> &mut Instance {
        self.instances.get_mut(&SLOT).unwrap()
    }

    /// A chain of that many runs; the first is the tag's, in slot 3, the next in slot 4.
    fn chain(&mut self, length: u32) {
        for depth in 0..length {
            let last = depth + 1 == length;
            let run = Instance {
                parent: if last { NO_SLOT } else { SLOT + depth + 1 },
                parent_generation: if last { 0 } else { TAG.generation + u64::from(depth) + 1 },
                ..instance(TAG.generation + u64::from(depth))
            };
            let run = run.bound_to(POLICY + u64::from(depth), PARAMS);
            self.instances.insert(SLOT + depth, run);
        }
    }

    /// An entry of a scope at the folder with that inode.
    fn enter(&mut self, scope: u64, inode: u64, states: [u32; HEADS]) {
        self.anchors.insert(folder(inode), inode as u32);
        let key = EntryKey { scope, anchor: inode as u32, reserved: 0 };
        self.entries.insert(key, Entry { states });
    }

    fn state(&mut self, state: u32, allow: Rights, deny: Rights) {
        let (allow_rule, deny_rule) = ([state as u16; RIGHTS], [state as u16 + 50; RIGHTS]);
        self.nodes.insert(state, Node { allow, deny, allow_rule, deny_rule, ..Node::default() });
    }

    fn tripwire(&mut self, state: u32) {
        self.state(state, Rights::NONE, Rights::ALL);
        let rule = TRIPWIRE | (state as u16 + 50);
        self.nodes.get_mut(&state).unwrap().deny_rule = [rule; RIGHTS];
    }

    fn edge_to(&mut self, state: u32, name: u64, target: u32) {
        self.edges.insert(EdgeKey::of_name(state, name), target);
        self.nodes.get_mut(&state).unwrap().edges += 1;
    }

    fn access(&self, want: Rights) -> Answer {
        may_access(self, &TAG, &Chain(std::vec![1, 2, 3]), want)
    }
}

fn folder(inode: u64) -> AnchorKey {
    AnchorKey { filesystem: 1, inode, ..AnchorKey::default() }
}

fn written(name: &str) -> Spelling {
    Spelling::of(name.as_bytes()).unwrap()
}

/// Inodes from a file to the root; each is also the hash of its name, which is the number.
struct Chain(Vec<u64>);

impl Location for Chain {
    type Room = OnStack;

    fn room(&self) -> Result<OnStack, Fault> {
        Ok(OnStack::default())
    }

    fn search<F: Facts>(
        &self,
        facts: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let mut search = Search::new(*scopes);
        for (level, inode) in (0..).zip(&self.0) {
            search.visit(facts, &folder(*inode), level);
        }
        for level in (0..search.top().unwrap_or(0)).rev() {
            let name = self.0[level as usize];
            search.descend(facts, level, name, &mut written(&name.to_string()))?;
        }
        found(&search)
    }
}

fn refused(reason: Reason) -> Result<u16, Refusal> {
    Err(Refusal::denied(reason))
}

/// By the rules of the run right above.
fn refused_above(reason: Reason) -> Result<u16, Refusal> {
    Err(Refusal::denied(reason).from_above(1))
}

fn fault(fault: Fault) -> Result<u16, Refusal> {
    Err(fault.into())
}
