//! Runs, as the daemon knows them: their facts, their life and the table of those that live on this host. Pure.

#![forbid(unsafe_code)]

pub mod bounds;
pub mod demand;
pub mod owner;
pub mod paths;
pub mod posture;
pub mod registry;
pub mod run;
pub mod state;
#[cfg(test)]
mod tests;

pub use bounds::{Bounds, Enclosure};
pub use demand::{Changing, Demand};
pub use owner::{DeniedOwners, OwnerDenial};
pub use posture::Posture;
pub use registry::{Ambiguous, Former, Registry};
pub use run::{Place, Run};
pub use state::{Ending, Phase};
