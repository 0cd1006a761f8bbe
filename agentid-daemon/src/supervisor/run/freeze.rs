//! Having the tasks of runs stand still, and go on.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::{debug, error};
use uuid::Uuid;

use super::{Supervisor, launch::chain};
use crate::kernel::{FreezeError, Runs};

/// How long the loop waits at most until the tasks of one run are at rest.
const REST: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Where the run is over already: that its tasks are denied everything does not wait for this.
    /// What has failed is tried again.
    pub(super) fn attempt(
        &mut self,
        id: Uuid,
        act: fn(&mut Self, Uuid) -> Result<(), FreezeError>,
    ) {
        let outcome = act(self, id);
        self.state.registry.note_frozen(id, outcome.is_ok());
        if let Err(failure) = outcome {
            error!(%id, message = %chain(&failure), "the freezer has not done its part");
        }
    }

    /// Has the tasks of a run and of all below it stand still.
    pub(super) fn freeze(&mut self, id: Uuid) -> Result<(), FreezeError> {
        let Some((name, runs)) = self.whole(id) else { return Ok(()) };
        let begun = Instant::now();
        let mut groups = BTreeSet::new();
        let frozen = self.kernel.freeze(&runs, &name, self.courtesy.min(REST), &mut groups);
        self.courtesy = self.courtesy.saturating_sub(begun.elapsed());
        self.state.registry.add_groups(id, groups);
        frozen
    }

    /// Lets them go on. Those of a run below that is held by itself stay as they are.
    pub(super) fn thaw(&mut self, id: Uuid) -> Result<(), FreezeError> {
        let Some((name, runs)) = self.whole(id) else { return Ok(()) };
        let groups = self.state.registry.get(id).map(|run| run.groups.clone());
        self.kernel.thaw(&runs, &name, groups.unwrap_or_default())
    }

    /// The name of a run's groups, and the slots and generations of it and of all below.
    fn whole(&self, id: Uuid) -> Option<(String, Runs)> {
        let registry = &self.state.registry;
        let name = registry.get(id)?.group();
        let all = registry.descendants(id).into_iter().chain([id]);
        let holding = all.filter_map(|id| registry.get(id)).filter(|run| run.phase.holds_slot());
        Some((name, holding.map(|run| (run.place.slot, run.place.generation)).collect()))
    }

    /// Removes the groups that ended runs have left, once nothing is in them.
    pub(super) fn disband(&mut self) {
        // A group that others are in comes before them.
        for group in std::mem::take(&mut self.groups_left).into_iter().rev() {
            if let Err(failure) = self.kernel.remove_group(&group) {
                debug!(group = %group.display(), message = %chain(&failure), "a group stays for now");
                self.groups_left.insert(group);
            }
        }
    }
}
