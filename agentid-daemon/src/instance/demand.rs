//! What the live runs need of the programs that every process of the host pays for.

use super::{
    Phase, Registry,
    run::{OnEnd, Run},
};

/// The programs on everybody's hot paths, each attached only while some run needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// A run that is over, or may be over tomorrow with nobody to notice, has descriptors open.
    pub descriptors: bool,
    /// A run's tasks are to be killed at its end, also those that never meet a hook.
    pub kill: bool,
    /// A run, or a socket that one has made, may send something.
    pub network: bool,
    /// A run asks for names, and its questions go to the daemon.
    pub names: bool,
}

impl Demand {
    /// What all runs together need that hold a slot.
    pub fn of(registry: &Registry) -> Self {
        registry.live().fold(Self::default(), |demand, run| demand.and(Self::of_run(run)))
    }

    /// A run whose tasks go on after its end needs its descriptors held from the beginning: its deadline may pass while
    /// no daemon is there to attach anything. Of the others only those whose tasks are not gone yet do.
    fn of_run(run: &Run) -> Self {
        Self {
            descriptors: run.on_end != OnEnd::Kill || run.phase != Phase::Active,
            kill: run.on_end == OnEnd::Kill,
            network: true,
            names: run.names,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors || other.descriptors,
            kill: self.kill || other.kill,
            network: self.network || other.network,
            names: self.names || other.names,
        }
    }
}
