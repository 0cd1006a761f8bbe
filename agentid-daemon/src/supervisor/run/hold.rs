//! Suspending, resuming and extending: one run, or all that are selected.

use tracing::{error, info};
use uuid::Uuid;

use super::{Supervisor, launch::chain};
use crate::{
    control::{
        api::{ChangeReply, ChangeRequest, ChangedRun, Code, ErrorReply},
        caller::Standing,
    },
    event::event::{Held, What},
    instance::Phase,
    supervisor::{
        command::{Answer, Kind},
        launch,
        refusal::Refusal,
        step::{Actor, Effect, Input, step},
        view,
    },
};

impl Supervisor {
    /// Changes every selected run, one right after the other. A run that is named and refuses is a refusal of the whole.
    pub(super) fn change(
        &mut self,
        standing: &Standing,
        kind: Kind,
        request: ChangeRequest,
    ) -> Answer<ChangeReply> {
        launch::reason(request.reason.as_deref())?;
        let ids = self.selected(standing, &request.select, |phase| match kind {
            Kind::Suspend => phase == Phase::Active,
            Kind::Resume => phase == Phase::Suspended,
            Kind::Extend => phase.is_live(),
        })?;
        let by = Actor { uid: standing.uid, reason: request.reason };
        let by_ms = request.by_ms.unwrap_or_default();
        let freeze = request.freeze.unwrap_or(true);
        let mut runs = Vec::new();
        for id in ids {
            let may = if kind == Kind::Resume { self.may_resume(standing, id) } else { Ok(()) };
            let done = match may {
                Ok(()) => self.change_one(id, kind, (by_ms, freeze), by.clone()),
                Err(refusal) => Err(refusal.into()),
            };
            match done {
                Err(refused) if request.select.id.is_some() => return Err(refused),
                done => runs.extend(self.changed(id, done.err())),
            }
        }
        Ok(ChangeReply { runs })
    }

    /// What an operator has suspended is not his whose run it is.
    fn may_resume(&self, standing: &Standing, id: Uuid) -> Result<(), Refusal> {
        let Some(run) = self.state.registry.get(id).filter(|_| !standing.operator) else {
            return Ok(());
        };
        match run.suspended_by() {
            Some(by_uid) if by_uid != standing.uid && by_uid != run.uid => {
                Err(Refusal::HeldByOther { id, by_uid })
            }
            _ => Ok(()),
        }
    }

    fn change_one(
        &mut self,
        id: Uuid,
        kind: Kind,
        (by_ms, freeze): (u64, bool),
        by: Actor,
    ) -> Answer<()> {
        let uid = by.uid;
        let input = match kind {
            Kind::Suspend => Input::Suspend { id, freeze, by },
            Kind::Resume => Input::Resume { id, by },
            Kind::Extend => Input::Extend { id, by_ms, max_ttl_ms: self.max_ttl_ms(id)?, by },
        };
        let now = self.now();
        let effects = step(&mut self.state, input, now)?;
        let mut half = Ok(());
        for effect in effects {
            let promised = matches!(
                effect,
                Effect::Deny { .. } | Effect::Permit { .. } | Effect::Prolong { .. }
            );
            let held = matches!(effect, Effect::Freeze(_) | Effect::Thaw(_));
            // What is told is what has come of it.
            let effect = match effect {
                Effect::Publish { id, what: What::Suspended(held) } if half.is_err() => {
                    let what = What::Suspended(Held { frozen: false, ..held });
                    Effect::Publish { id, what }
                }
                effect => effect,
            };
            // Written last, so that the file has what came of it.
            if half.is_err() && matches!(effect, Effect::Save(_)) {
                self.state.registry.note_frozen(id, false);
            }
            let Err(failure) = self.carry_out(effect, None) else {
                if held {
                    half = Ok(());
                }
                continue;
            };
            let message = chain(&failure);
            error!(%id, %message, "an effect has failed");
            if promised {
                let message = format!("the kernel did not take it: {message}");
                return Err(ErrorReply::new(
                    Code::Internal,
                    message,
                    "the daemon's log has more; agentid revoke ends the run",
                ));
            }
            if held {
                half = Err(half_done(kind, &message));
            }
        }
        info!(%id, by_uid = uid, verb = kind.name(), "done");
        half
    }

    /// What the version of the policy that the run is bound to grants at most.
    fn max_ttl_ms(&self, id: Uuid) -> Result<u64, Refusal> {
        let run = self.state.registry.get(id).ok_or(Refusal::Gone)?;
        let document = self.rules.document(&run.policy);
        Ok(document.map_or(0, |document| launch::millis(document.policy.max_ttl())))
    }

    fn changed(&self, id: Uuid, error: Option<ErrorReply>) -> Option<ChangedRun> {
        let run = self.state.registry.get(id)?;
        Some(ChangedRun {
            id,
            agent: run.agent.clone(),
            owner: run.owner.clone(),
            task: run.task.clone(),
            phase: run.phase.name().to_owned(),
            deadline_ms: view::wall_of(run.place.deadline, self.now()),
            error,
        })
    }
}

/// The kernel has its answer for the run, and the freezer has not done its part.
fn half_done(kind: Kind, message: &str) -> ErrorReply {
    let (state, remedy) = match kind {
        Kind::Suspend => (
            "everything is denied to the run, but not all of its tasks stand still",
            "agentid resume, then suspend --no-freeze, has it denied without that",
        ),
        _ => (
            "the run has its rights again, but tasks of it may still stand still",
            "write 0 to the cgroup.freeze of its groups, which are named agentid-ID",
        ),
    };
    ErrorReply::new(Code::Internal, format!("{state}: {message}"), remedy)
}
