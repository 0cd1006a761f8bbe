//! What an earlier daemon has left in the maps that this one takes up.
//!
//! The new daemon compiles everything anew, beside the old; then its instances name the new scopes, and the old ones
//! go. In between both are whole, so no decision sees half of either.

use super::{
    diff::MapOp,
    emit::Removal,
    image::Image,
    numbers::{Held, Need, Numbers},
};

/// The rules in adopted maps, instances aside.
#[derive(Debug)]
pub struct Leftover {
    /// Takes them away, once no instance refers to them. [`Numbers::release`] of `held` comes after.
    pub removal: Vec<MapOp>,
    pub held: Held,
}

impl Leftover {
    /// Everything in the image, and numbers that keep clear of it. `next` is as in [`Numbers::new`].
    pub fn of(image: &Image, next: u64) -> (Self, Numbers) {
        let mut held = Held {
            anchors: image.anchors.keys().copied().collect(),
            nodes: image.nodes.keys().copied().collect(),
            globs: image.globs.keys().copied().collect(),
            classes: image.ports.keys().map(|(key, _)| key.class).collect(),
            need: Need {
                anchors: image.anchors.len() as u32,
                entries: image.entries.len() as u32,
                nodes: image.nodes.len() as u32,
                edges: image.edges.len() as u32,
                globs: image.globs.len() as u32,
                peers: image.peers.len() as u32,
                ports: image.ports.len() as u32,
            },
        };
        held.classes.extend(image.peers.values());
        held.classes.sort_unstable();
        held.classes.dedup();
        let numbers = Numbers::beside(next, &held, &image.anchors);
        (Self { removal: removal(image).into_ops(), held }, numbers)
    }
}

fn removal(image: &Image) -> Removal {
    let mut removal = Removal::default();
    removal.roots.extend(image.entries.keys().map(|key| MapOp::RemoveEntry(*key)));
    let peers = image.peers.keys().map(|&(key, bits)| MapOp::RemovePeer { key, bits });
    removal.roots.extend(peers);
    removal.roots.extend(image.pins.keys().map(|key| MapOp::RemovePins(*key)));
    removal.rest.extend(image.nodes.keys().map(|state| MapOp::RemoveNode(*state)));
    removal.rest.extend(image.edges.keys().map(|key| MapOp::RemoveEdge(*key)));
    removal.rest.extend(image.globs.keys().map(|index| MapOp::RemoveGlob(*index)));
    let ports = image.ports.keys().map(|&(key, bits)| MapOp::RemovePort { key, bits });
    removal.rest.extend(ports);
    removal
}
