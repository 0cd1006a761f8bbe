//! Ops into map calls, and the maps back into an image.

use std::collections::BTreeSet;

use agentid_common::{
    file::{Glob, Node},
    instance::Instance,
    map::{CANARY_SLOT, GLOBS, NODES},
    net::{PeerKey, PortKey},
};
use aya::maps::{MapError, lpm_trie::Key};

use super::{
    maps::{Maps, put, remove},
    pins::Pins,
    sys,
};
use crate::image::{Image, MapOp};

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("write the kernel's maps at step {step} ({op})")]
    Map { step: usize, op: String, source: MapError },
    #[error("write the edition of the kernel's maps")]
    Edition(#[source] MapError),
    #[error("wait for running hooks to end")]
    Synchronize(#[source] std::io::Error),
}

/// Carries out the ops in order, up to the first that fails.
///
/// What the programs remember of the rules' tables is not good while these are written, nor afterwards. When an op fails
/// the programs go on remembering nothing, until the next time that all goes well.
pub fn apply(maps: &mut Maps, ops: &[MapOp]) -> Result<(), ApplyError> {
    let edited: BTreeSet<u32> = ops.iter().filter_map(MapOp::edits).collect();
    edited.iter().try_for_each(|of| maps.edit(*of)).map_err(ApplyError::Edition)?;
    each(maps, ops)?;
    edited.iter().try_for_each(|of| maps.publish(*of)).map_err(ApplyError::Edition)?;
    Ok(())
}

fn each(maps: &mut Maps, ops: &[MapOp]) -> Result<(), ApplyError> {
    for (step, op) in ops.iter().enumerate() {
        if matches!(op, MapOp::Synchronize) {
            synchronize().map_err(ApplyError::Synchronize)?;
        } else {
            one(maps, op).map_err(|source| ApplyError::Map {
                step,
                op: format!("{op:?}"),
                source,
            })?;
        }
    }
    Ok(())
}

fn one(maps: &mut Maps, op: &MapOp) -> Result<(), MapError> {
    match *op {
        MapOp::SetAnchor(key, number) => {
            put(&mut maps.anchors, |map, flags| map.insert(key, number, flags))
        }
        MapOp::RemoveAnchor(key) => remove(&mut maps.anchors, |map| map.remove(&key)),
        MapOp::SetNode(state, node) => maps.nodes.set(state, node, 0),
        MapOp::RemoveNode(state) => maps.nodes.set(state, Node::default(), 0),
        MapOp::SetGlob(index, glob) => maps.globs.set(index, glob, 0),
        MapOp::RemoveGlob(index) => maps.globs.set(index, Glob::default(), 0),
        MapOp::SetEdge(key, target) => {
            put(&mut maps.edges, |map, flags| map.insert(key, target, flags))
        }
        MapOp::RemoveEdge(key) => remove(&mut maps.edges, |map| map.remove(&key)),
        MapOp::SetEntry(key, entry) => {
            put(&mut maps.entries, |map, flags| map.insert(key, entry, flags))
        }
        MapOp::RemoveEntry(key) => remove(&mut maps.entries, |map| map.remove(&key)),
        MapOp::SetPeer { key, bits, class } => {
            put(&mut maps.peers, |map, flags| map.insert(&Key::new(bits, key), class, flags))
        }
        MapOp::RemovePeer { key, bits } => {
            remove(&mut maps.peers, |map| map.remove(&Key::new(bits, key)))
        }
        MapOp::SetPort { key, bits, rule } => {
            put(&mut maps.ports, |map, flags| map.insert(&Key::new(bits, key), rule, flags))
        }
        MapOp::RemovePort { key, bits } => {
            remove(&mut maps.ports, |map| map.remove(&Key::new(bits, key)))
        }
        MapOp::SetPins(key, pins) => put(&mut maps.pins, |map, flags| map.insert(key, pins, flags)),
        MapOp::RemovePins(key) => remove(&mut maps.pins, |map| map.remove(&key)),
        MapOp::SetInstance(slot, instance) => maps.instances.set(slot, instance, 0),
        MapOp::SetActivity(slot, activity) => maps.activity.set(slot, activity, 0),
        MapOp::SetState(slot, state) => {
            let instance = maps.instances.get(&slot, 0)?;
            maps.instances.set(slot, Instance { state, ..instance }, 0)
        }
        MapOp::SetDeadline(slot, deadline) => {
            let instance = maps.instances.get(&slot, 0)?;
            maps.instances.set(slot, Instance { deadline, ..instance }, 0)
        }
        MapOp::Bind(slot, rules) => {
            let instance = maps.instances.get(&slot, 0)?;
            maps.instances.set(slot, rules.of(instance), 0)
        }
        MapOp::Synchronize => Ok(()),
    }
}

/// Everything that the maps hold about runs and their rules. Counts their elements.
pub fn image(maps: &mut Maps, pins: &Pins) -> Result<Image, MapError> {
    let mut image = Image::default();
    for (slot, instance) in (0..).zip(pins.instances()?) {
        if slot != CANARY_SLOT && instance.generation != 0 {
            image.apply(&MapOp::SetInstance(slot, instance));
        }
    }
    for (state, node) in (0..).zip(sys::array::<Node>(&pins.map("NODES"), NODES)?) {
        if node != Node::default() {
            image.apply(&MapOp::SetNode(state, node));
        }
    }
    for (index, glob) in (0..).zip(sys::array::<Glob>(&pins.map("GLOBS"), GLOBS)?) {
        if glob != Glob::default() {
            image.apply(&MapOp::SetGlob(index, glob));
        }
    }
    for element in maps.anchors.map.iter() {
        maps.anchors.elements += 1;
        let (key, number) = element?;
        image.apply(&MapOp::SetAnchor(key, number));
    }
    for element in maps.entries.map.iter() {
        maps.entries.elements += 1;
        let (key, entry) = element?;
        image.apply(&MapOp::SetEntry(key, entry));
    }
    for element in maps.edges.map.iter() {
        maps.edges.elements += 1;
        let (key, target) = element?;
        image.apply(&MapOp::SetEdge(key, target));
    }
    for element in maps.peers.map.iter() {
        maps.peers.elements += 1;
        let (key, class): (Key<PeerKey>, u32) = element?;
        image.apply(&MapOp::SetPeer { key: key.data(), bits: key.prefix_len(), class });
    }
    for element in maps.ports.map.iter() {
        maps.ports.elements += 1;
        let (key, rule): (Key<PortKey>, _) = element?;
        image.apply(&MapOp::SetPort { key: key.data(), bits: key.prefix_len(), rule });
    }
    for element in maps.pins.map.iter() {
        maps.pins.elements += 1;
        let (key, pins) = element?;
        image.apply(&MapOp::SetPins(key, pins));
    }
    Ok(image)
}

/// Returns when every program that was running has ended: membarrier(2) with `MEMBARRIER_CMD_GLOBAL` waits for a
/// grace period of RCU (kernel/sched/membarrier.c), and a program that is not sleepable runs inside one.
fn synchronize() -> std::io::Result<()> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
