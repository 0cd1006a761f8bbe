//! Reading the policies again while runs live.
//!
//! All of them are taken, or none. Each run that lives is then bound to the version that new runs get; one for which that
//! cannot be done stays bound to its own, and so do the runs of a policy that is not there any more.

use thiserror::Error;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Supervisor, binding::BindingError, enclose, launch::chain};
use crate::{
    event::event::{Policies, Renewed, What},
    instance::{
        Enclosure,
        run::{OnEnd, PolicyVersion, RunMode},
    },
    kernel::{EncloseError, Kernel},
    supervisor::{
        folder,
        refusal::Refusal,
        step::{Input, Renewal},
        store::StoreError,
    },
};

/// Why a run stays bound to the version that it has.
#[derive(Debug, Error)]
enum RenewError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Binding(#[from] BindingError),
    #[error("give it its limits back")]
    Enclose(#[from] EncloseError),
}

impl Supervisor {
    pub(super) fn reload(&mut self) {
        match folder::load(&self.folder) {
            Ok(policies) => {
                self.mistakes.clear();
                self.rules.withdraw_offers();
                self.offer(policies);
                info!(policies = self.rules.offered().count(), "the policies were read again");
            }
            Err(errors) => {
                self.mistakes = errors.iter().map(|error| super::launch::chain(error)).collect();
                for mistake in &self.mistakes {
                    error!(%mistake, "the policies stay as they were");
                }
            }
        }
        let offered = self.rules.offered().map(|(version, _)| version.to_string()).collect();
        let policies = Policies { offered, mistakes: self.mistakes.len() as u64 };
        self.publish(None, What::Policies(policies));
        self.renew_all();
    }

    /// Binds every run that lives to the version of its policy that new runs get.
    pub(super) fn renew_all(&mut self) {
        let live = self.state.registry.live().filter(|run| run.phase.ending().is_none());
        let outdated: Vec<(Uuid, PolicyVersion)> = live
            .filter_map(|run| Some((run, self.rules.current(&run.policy.name).ok()?.0)))
            .filter(|(run, version)| run.policy != **version)
            .map(|(run, version)| (run.id, version.clone()))
            .collect();
        for (id, version) in outdated {
            let Some(from) = self.state.registry.get(id).map(|run| run.policy.to_string()) else {
                continue;
            };
            match self.renew(id, &version) {
                Ok(()) => info!(%id, %version, "the run is held by another version"),
                Err(failure) => {
                    let mistake = chain(&failure);
                    warn!(%id, %version, %mistake, "the run stays held by the version that it has");
                    let mistake = Some(mistake);
                    let stays = Renewed { from, mistake, mode: None, on_end: None };
                    self.publish(Some(id), What::Renewed(stays));
                }
            }
        }
    }

    fn renew(&mut self, id: Uuid, version: &PolicyVersion) -> Result<(), RenewError> {
        // Before it is asked what the run is bound to.
        self.look_at_mounts();
        let run = self.state.registry.get(id).ok_or(Refusal::Gone)?;
        let params = run.params.clone();
        let (_, document) = self.rules.current(&version.name)?;
        let mode = RunMode::of(document.policy.mode());
        let on_end = OnEnd::of(document.policy.on_end());
        let bounds = enclose::bounds(&document.policy);
        self.store.keep_policy(version, &document.text)?;
        let before = self.rules.scope_of(id);
        self.bound(run, &version.name, bounds)?;
        let had = run.enclosure.clone();
        let bond = match self.bind(id, version, &params) {
            Ok(bond) => bond,
            Err(failure) => {
                if let Some(Enclosure { group, bounds }) = had {
                    Kernel::enclose(&group, &bounds)?;
                }
                return Err(failure.into());
            }
        };
        if let Some(before) = before {
            self.carry_names(id, version, before, bond.params_scope);
        }
        let renewal = Renewal { policy: version.clone(), bond, mode, on_end, bounds };
        self.input(Input::Renew { id, renewal });
        Ok(())
    }

    /// Takes back the compiled form of versions that no new run gets and no run has.
    pub(super) fn retire(&mut self) {
        let used: Vec<&PolicyVersion> = self.state.registry.live().map(|run| &run.policy).collect();
        for version in self.rules.retired() {
            if !used.contains(&&version) {
                info!(%version, "nothing is bound to this version any more");
                self.garbage.extend(self.rules.withdraw(&version));
            }
        }
    }
}
