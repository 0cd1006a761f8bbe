//! A daemon and its runs as guards, and the facts that tests wait for.

pub mod adjust;
pub mod attacker;
pub mod calls;
pub mod cli;
pub mod crowd;
pub mod daemon;
mod due;
pub mod far;
pub mod feed;
pub mod footprint;
pub mod kernel;
pub mod mirror;
pub mod note;
pub mod peer;
pub mod place;
pub mod policies;
pub mod run;
pub mod scale;
pub mod scene;
pub mod settle;
pub mod shared;
pub mod table;
pub mod taken;
pub mod upstream;
pub mod view;
pub mod wait;
pub mod wire;

pub use self::{
    attacker::Attacker, crowd::Crowd, daemon::Daemon, note::note, peer::Peer, place::Place,
    run::Run, scene::Scene, shared::Shared, upstream::Upstream,
};
