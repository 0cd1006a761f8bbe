//! Putting a run's rules into the kernel's tables, where nothing refers to them yet.

use std::{collections::BTreeMap, path::PathBuf};

use thiserror::Error;
use tracing::warn;
use uuid::Uuid;

use super::Supervisor;
use crate::{
    image::{MapOp, Terrain},
    instance::{Run, run::PolicyVersion},
    kernel::{ApplyError, SurveyError},
    supervisor::{
        rules::{Bond, RulesError},
        store::StoreError,
    },
};

/// Why a run's rules are not in the kernel's tables.
#[derive(Debug, Error)]
pub(super) enum BindingError {
    #[error("survey the folders of the policy")]
    Survey(#[from] SurveyError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("write the rules of the run")]
    Apply(#[from] ApplyError),
}

impl Supervisor {
    /// Compiles the policy if need be, and binds the run's parameters to it. On an error all is as it was, save what the
    /// next collection takes back. What the run had before is taken back then as well: its slot is to be told at once.
    pub(super) fn bind(
        &mut self,
        id: Uuid,
        version: &PolicyVersion,
        params: &BTreeMap<String, PathBuf>,
    ) -> Result<Bond, BindingError> {
        // What is compiled already is bound to the mounts as they are.
        self.look_at_mounts();
        let mut folders = self.rules.folders(version, params);
        let stale = self.stale.contains(version);
        if stale {
            folders.extend(self.rules.prefixes(version));
        }
        let terrain = self.survey(&folders)?;
        if stale {
            self.compile_anew(version, &terrain)?;
        } else {
            let compiled = self.rules.compile(version, &terrain)?;
            self.write_policy(version, &compiled)?;
        }
        self.bind_on(&terrain, id, version, params)
    }

    /// Compiles the policy for a terrain that is not the one before. Who is bound to it stays bound to that.
    pub(super) fn compile_anew(
        &mut self,
        version: &PolicyVersion,
        terrain: &Terrain,
    ) -> Result<(), BindingError> {
        // Until it is done nobody is bound to the form that was laid onto other mounts.
        self.stale.insert(version.clone());
        let compiled = self.rules.compile_anew(version, terrain)?;
        self.write_policy(version, &compiled)?;
        self.stale.remove(version);
        Ok(())
    }

    /// Binds the parameters to a policy that is compiled. On an error the run has what it had.
    pub(super) fn bind_on(
        &mut self,
        terrain: &Terrain,
        id: Uuid,
        version: &PolicyVersion,
        params: &BTreeMap<String, PathBuf>,
    ) -> Result<Bond, BindingError> {
        let was = self.state.registry.get(id).map(Run::folders).unwrap_or_default();
        let (bond, ops, bound) = self.rules.bind(version, params, &was, terrain)?;
        if let Err(failure) = self.write(&ops) {
            self.garbage.push(bound.into());
            return Err(failure);
        }
        self.garbage.extend(self.rules.keep(id, bound));
        let given = self.rules.given(id).into_iter().flatten();
        for (param, _) in given.filter(|(param, key)| was.get(*param).is_some_and(|it| it != *key))
        {
            warn!(%id, param, "another folder is where the one was that was given: nothing is granted there");
        }
        Ok(bond)
    }

    fn write_policy(&mut self, version: &PolicyVersion, ops: &[MapOp]) -> Result<(), BindingError> {
        if ops.is_empty() {
            // It was compiled before, and runs are bound to it.
            return Ok(());
        }
        let written = self.write(ops);
        if written.is_err() {
            self.garbage.extend(self.rules.withdraw(version));
        }
        written
    }

    /// The numbers in the writes are on disk as used before the kernel sees any of them.
    fn write(&mut self, ops: &[MapOp]) -> Result<(), BindingError> {
        self.store.reserve(self.rules.high_water())?;
        Ok(self.apply(ops)?)
    }
}
