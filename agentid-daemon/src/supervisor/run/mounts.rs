//! Filesystems that are mounted, moved or taken away while policies are in force.
//!
//! A path in a rule means something only through the mounts of the moment. On a filesystem that rules were not laid onto
//! nothing is granted; whatever they say of it holds from the next look on.
//!
//! A policy that cannot be compiled anew (the tables are full) binds nobody until it can: launches try again, and its live
//! runs keep the form that they have until mounts change once more.

use std::{collections::BTreeSet, path::PathBuf};

use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Supervisor, binding::BindingError, launch::chain};
use crate::{
    image::Terrain, instance::run::PolicyVersion, kernel::SurveyError, supervisor::step::Input,
};

impl Supervisor {
    /// Lays rules onto the filesystems anew where these are not what they were at the last look.
    pub(super) fn look_at_mounts(&mut self) {
        match self.kernel.moved_mounts() {
            Ok(points) => self.moved.extend(points),
            Err(failure) => {
                let message = chain(&failure);
                error!(%message, "what is mounted is not known; rules hold where they held before");
            }
        }
        if self.moved.is_empty() {
            return;
        }
        let points: Vec<PathBuf> = self.moved.iter().cloned().collect();
        let versions = self.rules.touched(&points);
        let live = self.state.registry.live().filter(|run| run.phase.ending().is_none());
        let runs: Vec<(Uuid, PolicyVersion)> = live
            .filter(|run| versions.contains(&run.policy) || self.rules.is_touched(run.id, &points))
            .map(|run| (run.id, run.policy.clone()))
            .collect();
        if !versions.is_empty() || !runs.is_empty() {
            info!(versions = versions.len(), runs = runs.len(), "other filesystems are there now");
            if let Err(failure) = self.lay_anew(&versions, &runs) {
                // Once more at the next look.
                error!(message = %chain(&failure), "rules hold where they held before");
                return;
            }
        }
        self.moved.clear();
    }

    fn lay_anew(
        &mut self,
        versions: &[PolicyVersion],
        runs: &[(Uuid, PolicyVersion)],
    ) -> Result<(), SurveyError> {
        let mut folders: BTreeSet<PathBuf> =
            versions.iter().flat_map(|version| self.rules.prefixes(version)).collect();
        let own: Vec<PathBuf> = folders.iter().cloned().collect();
        let given = runs.iter().filter_map(|(id, _)| self.state.registry.get(*id));
        folders.extend(given.flat_map(|run| run.params.values().cloned()));
        let folders: Vec<PathBuf> = folders.into_iter().collect();
        // Whoever owns a folder that was given may have put something in its place that root cannot look at; that is nobody's
        // business but his run's.
        let all = self.survey(&folders);
        let terrain = match &all {
            Ok(terrain) => terrain,
            Err(_) => &self.survey(&own)?,
        };
        for version in versions {
            if let Err(failure) = self.compile_anew(version, terrain) {
                let message = chain(&failure);
                error!(%version, %message, "a policy holds where it held before");
            }
        }
        for (id, version) in runs {
            if let Err(failure) = self.bind_anew(all.as_ref().ok(), *id, version) {
                let message = chain(&failure);
                warn!(%id, %version, %message, "the rules of a run hold where they held before");
            }
        }
        Ok(())
    }

    fn bind_anew(
        &mut self,
        terrain: Option<&Terrain>,
        id: Uuid,
        version: &PolicyVersion,
    ) -> Result<(), BindingError> {
        let run = self.state.registry.get(id).filter(|run| run.phase.ending().is_none());
        let Some(params) = run.map(|run| run.params.clone()) else {
            return Ok(());
        };
        if self.stale.contains(version) {
            // It has what it had, denials included, rather than a form of which some do not hold here.
            return Ok(());
        }
        let terrain = match terrain {
            Some(terrain) => terrain,
            None => {
                let folders: Vec<PathBuf> = params.values().cloned().collect();
                &self.survey(&folders)?
            }
        };
        let before = self.rules.scope_of(id);
        let bond = self.bind_on(terrain, id, version, &params)?;
        if let Some(before) = before {
            self.carry_names(id, version, before, bond.params_scope);
        }
        self.input(Input::Rebound { id, bond });
        Ok(())
    }
}
