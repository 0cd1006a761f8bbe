//! Having nothing launched for an owner.

use tracing::{error, info};

use super::{Supervisor, launch::chain};
use crate::{
    control::{
        api::{Code, ErrorReply, OwnerReply, OwnerRequest, OwnerView},
        caller::Standing,
    },
    supervisor::{
        command::Answer,
        launch,
        step::{Actor, Input, step},
    },
};

impl Supervisor {
    pub(super) fn owner(
        &mut self,
        standing: &Standing,
        request: OwnerRequest,
        denied: bool,
    ) -> Answer<OwnerReply> {
        let OwnerRequest { owner, reason } = request;
        launch::reason(reason.as_deref())?;
        launch::owner(&owner)?;
        let by = Actor { uid: standing.uid, reason };
        let now = self.now();
        let effects =
            step(&mut self.state, Input::Owner { owner: owner.clone(), denied, by }, now)?;
        for effect in effects {
            if let Err(failure) = self.carry_out(effect, None) {
                let message = chain(&failure);
                error!(%message, "an effect has failed");
                let message = format!("it holds until the daemon ends, and not longer: {message}");
                let remedy = "make room where the daemon's state is, and ask again: agentid doctor";
                return Err(ErrorReply::new(Code::Internal, message, remedy));
            }
        }
        info!(owner, denied, by_uid = standing.uid, "launches for an owner");
        let of_owner = |run: &&crate::instance::Run| run.owner == owner && run.phase.is_live();
        let live = self.state.registry.live().filter(of_owner).count() as u64;
        Ok(OwnerReply { owner, denied, live })
    }

    /// For whom nothing is launched; for operators alone.
    pub(super) fn denied_owners(&self, standing: &Standing) -> Vec<OwnerView> {
        let denied = self.state.denied.iter().filter(|_| standing.operator);
        let view = |(owner, denial): (&String, &crate::instance::OwnerDenial)| OwnerView {
            owner: owner.clone(),
            at_ms: denial.at_ms,
            by_uid: denial.by_uid,
            reason: denial.reason.clone(),
        };
        denied.map(view).collect()
    }
}
