//! What the live runs need of the programs that every process of the host pays for.

use std::ops::{Deref, DerefMut};

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
        registry.demands().together()
    }

    /// A run whose tasks go on after its end needs its descriptors held from the beginning: its deadline may pass while
    /// no daemon is there to attach anything. Tasks that are killed are gone before anything could be attached; the
    /// descriptors of a run that is killed are held when some of its tasks are not.
    pub fn of_run(run: &Run) -> Self {
        if !run.phase.holds_slot() {
            return Self::default();
        }
        Self {
            descriptors: match run.phase {
                Phase::Active => run.on_end != OnEnd::Kill,
                Phase::Stopping(_) => run.on_end != OnEnd::Kill || run.outlasts,
                _ => true,
            },
            kill: run.on_end == OnEnd::Kill,
            network: true,
            names: run.names,
        }
    }
}

/// How many runs need each of it: a denial waits for the answer, and must not wait for a look at all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    descriptors: usize,
    kill: usize,
    network: usize,
    names: usize,
}

impl Demands {
    /// One more run needs this, which is all that has been counted of it.
    pub(super) fn add(&mut self, demand: Demand) {
        self.count(demand, |count| count + 1);
    }

    /// A run that has been counted so does not need it any more.
    pub(super) fn remove(&mut self, demand: Demand) {
        self.count(demand, |count| count.saturating_sub(1));
    }

    fn count(&mut self, demand: Demand, next: impl Fn(usize) -> usize) {
        let Demand { descriptors, kill, network, names } = demand;
        for (needed, count) in [
            (descriptors, &mut self.descriptors),
            (kill, &mut self.kill),
            (network, &mut self.network),
            (names, &mut self.names),
        ] {
            if needed {
                *count = next(*count);
            }
        }
    }

    const fn together(self) -> Demand {
        Demand {
            descriptors: self.descriptors > 0,
            kill: self.kill > 0,
            network: self.network > 0,
            names: self.names > 0,
        }
    }
}

/// A run that is being changed. When that is done, what it needs then is counted in place of what it needed before.
#[derive(Debug)]
pub struct Changing<'a> {
    run: &'a mut Run,
    demands: &'a mut Demands,
    before: Demand,
}

impl<'a> Changing<'a> {
    pub(super) fn new(run: &'a mut Run, demands: &'a mut Demands) -> Self {
        let before = Demand::of_run(run);
        Self { run, demands, before }
    }
}

impl Deref for Changing<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Run {
        self.run
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.demands.remove(self.before);
        self.demands.add(Demand::of_run(self.run));
    }
}
