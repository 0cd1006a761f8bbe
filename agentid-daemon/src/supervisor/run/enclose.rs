//! Runs that may not use more of the host than their policy says.

use std::path::{Path, PathBuf};

use tracing::error;
use uuid::Uuid;

use super::{Supervisor, first::First, launch::chain};
use crate::{
    instance::{Bounds, Enclosure, Run, run},
    kernel::{EncloseError, Kernel},
    policy::{Limits, Policy},
    supervisor::{command::Caller, refusal::Refusal},
};

/// What the runs of a policy may use.
pub(super) fn bounds(policy: &Policy) -> Bounds {
    let Limits { denials_per_minute: _, memory, tasks, cpu } = policy.limits();
    Bounds { memory, tasks, cpu }
}

impl Supervisor {
    /// Makes the group of a run that is about to start, where its policy limits it: in the one of the next run above that
    /// has one.
    pub(super) fn build(
        &mut self,
        id: Uuid,
        parent: Option<Uuid>,
        policy: &str,
        bounds: Bounds,
    ) -> Result<Option<Enclosure>, Refusal> {
        if bounds.is_none() {
            return Ok(None);
        }
        let registry = &self.state.registry;
        let above = parent.and_then(|parent| registry.get(parent));
        // Below one that has ended nothing is launched, and its group may be gone.
        let above = above.filter(|above| above.phase.is_live()).and_then(|it| self.around(it.id));
        let above = above.map(|(_, enclosure)| enclosure.group.clone());
        let group = above.unwrap_or_else(|| self.limited.clone()).join(run::group_name(id));
        if let Err(failure) = Kernel::enclose(&group, &bounds) {
            self.groups_left.insert(group);
            return Err(unbounded(policy, &failure));
        }
        Ok(Some(Enclosure { group, bounds }))
    }

    /// Gives the group of a run other limits.
    pub(super) fn bound(&self, run: &Run, policy: &str, bounds: Bounds) -> Result<(), Refusal> {
        match &run.enclosure {
            Some(enclosure) if enclosure.bounds == bounds => Ok(()),
            Some(enclosure) => Kernel::enclose(&enclosure.group, &bounds)
                .map_err(|failure| unbounded(policy, &failure)),
            None if bounds.is_none() => Ok(()),
            None => Err(Refusal::LimitsAtLaunch { policy: policy.to_owned() }),
        }
    }

    /// What limits a run: its own group, or that of the next run above that has one.
    pub(super) fn around(&self, id: Uuid) -> Option<(&Run, &Enclosure)> {
        let registry = &self.state.registry;
        let run = registry.get(id)?;
        let mut all = [&id].into_iter().chain(&run.above).filter_map(|id| registry.get(*id));
        all.find_map(|run| Some((run, run.enclosure.as_ref()?)))
    }

    /// Moves the asking process to where the run is limited.
    pub(super) fn enter(&self, id: Uuid, caller: &Caller) -> Result<(), EncloseError> {
        match self.around(id) {
            Some((_, it)) => Kernel::admit(&it.group, caller.tgid, caller.process()),
            None => Ok(()),
        }
    }

    /// Where an asking process is, so that it can be moved back.
    pub(super) fn whence(first: First<'_>) -> Option<PathBuf> {
        match first {
            First::Caller(caller) => Kernel::group_of(caller.tgid),
            First::Gathered(_) => None,
        }
    }

    /// Moves it back: it goes on, and is no run.
    pub(super) fn put_back(first: First<'_>, from: Option<&Path>) {
        if let (First::Caller(caller), Some(from)) = (first, from)
            && let Err(failure) = Kernel::release(from, caller.tgid)
        {
            let message = chain(&failure);
            error!(tgid = caller.tgid, %message, "who was not launched stays in the run's cgroup");
        }
    }
}

/// Why a run of this policy cannot be limited.
fn unbounded(policy: &str, failure: &EncloseError) -> Refusal {
    let remedy = match failure {
        EncloseError::NoHierarchy | EncloseError::Absent { .. } => {
            "boot with cgroup v2 alone, and without cgroup_disable; agentid doctor looks at it"
        }
        EncloseError::Disabled { .. } => {
            "`limited_runs` in agentid.toml says below which cgroup they are made: one without processes"
        }
        EncloseError::Gone | EncloseError::Group(_) => "systemd-cgls shows the cgroups of the host",
    };
    Refusal::NoLimits { policy: policy.to_owned(), why: chain(failure), remedy }
}
