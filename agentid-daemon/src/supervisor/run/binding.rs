//! Putting a run's rules into the kernel's tables, where nothing refers to them yet.

use std::{collections::BTreeMap, path::PathBuf};

use thiserror::Error;
use uuid::Uuid;

use super::Supervisor;
use crate::{
    image::MapOp,
    instance::run::PolicyVersion,
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
        let folders = self.rules.folders(version, params);
        let terrain = self.kernel.survey(&folders)?;
        self.sights = terrain.sights();
        let compiled = self.rules.compile(version, &terrain)?;
        if let Err(failure) = self.write(&compiled) {
            self.garbage.extend(self.rules.withdraw(version));
            return Err(failure);
        }
        let (bond, ops, bound) = self.rules.bind(version, params, &terrain)?;
        if let Err(failure) = self.write(&ops) {
            self.garbage.push(bound.into());
            return Err(failure);
        }
        self.garbage.extend(self.rules.keep(id, bound));
        Ok(bond)
    }

    /// The numbers in the writes are on disk as used before the kernel sees any of them.
    fn write(&mut self, ops: &[MapOp]) -> Result<(), BindingError> {
        self.store.reserve(self.rules.high_water())?;
        Ok(self.apply(ops)?)
    }
}
