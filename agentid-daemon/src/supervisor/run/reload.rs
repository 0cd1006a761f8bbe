//! Reading the policies again while runs live.
//!
//! All of them are taken, or none. Runs that live stay bound to the version that they were launched with; it is for new
//! ones that the new version is in force.

use tracing::{error, info};

use super::Supervisor;
use crate::{
    event::event::{Policies, What},
    instance::run::PolicyVersion,
    supervisor::folder,
};

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
