//! Revoking, and the answers that wait for the last task to be gone.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::info;
use uuid::Uuid;

use super::{Supervisor, effects::EffectError, launch::chain};
use crate::{
    control::{
        api::{Code, ErrorReply, RevokeReply, RevokeRequest},
        caller::{Ask, Standing},
    },
    instance::Run,
    supervisor::{
        command::{Answer, Reply},
        refusal::Refusal,
        step::{Effect, Input, step},
    },
};

/// After this an answer no longer waits for tasks that do not go.
const PATIENCE: Duration = Duration::from_secs(10);

/// A revocation whose tasks are not all gone.
#[derive(Debug)]
pub(super) struct Waiter {
    pending: BTreeSet<Uuid>,
    arrived: Instant,
    so_far: RevokeReply,
    reply: Option<Reply<RevokeReply>>,
}

impl Supervisor {
    pub(super) fn revoke(
        &mut self,
        standing: &Standing,
        text: &str,
        request: RevokeRequest,
        arrived: Instant,
        reply: Reply<RevokeReply>,
    ) {
        match self.begin_revoke(standing, text, request, arrived) {
            Ok(waiter) => {
                self.count("revoke", &Ok(()));
                self.waiters.push(Waiter { reply: Some(reply), ..waiter });
                self.give_up_waiting();
            }
            Err(refused) => self.reply("revoke", reply, Err(refused)),
        }
    }

    fn begin_revoke(
        &mut self,
        standing: &Standing,
        text: &str,
        request: RevokeRequest,
        arrived: Instant,
    ) -> Answer<Waiter> {
        let seen = |run: &Run| standing.sees(run.uid);
        let run = self.state.registry.find(text, seen).map_err(Refusal::from)?;
        let id = run.id;
        standing.may(Ask::RunOf(run.uid))?;
        crate::supervisor::launch::reason(request.reason.as_deref())?;
        let also = self.state.registry.descendants(id);
        let input = Input::Revoke { id, by_uid: standing.uid, reason: request.reason };
        let now = self.now();
        // Counted before the denial: from there on the kernel ends them by itself.
        let slot = |id: &Uuid| self.state.registry.get(*id).map(|run| run.place.slot);
        let slots = std::iter::once(&id).chain(&also).filter_map(slot);
        let tasks =
            slots.filter_map(|slot| self.activity(slot)).map(|activity| activity.live).sum();
        let mut effects = step(&mut self.state, input, now)?.into_iter().peekable();

        // First every run in question is denied everything, and then the time is taken.
        let mut failure = None;
        while let Some(denial) = effects.next_if(|effect| matches!(effect, Effect::Deny { .. })) {
            failure = self.carry_out(denial, None).err().or(failure);
        }
        let denied_after = arrived.elapsed();
        let pending: BTreeSet<Uuid> = effects
            .clone()
            .filter_map(|effect| match effect {
                Effect::Stop { id, kill: true } => Some(id),
                _ => None,
            })
            .collect();
        self.perform(effects.collect());
        if let Some(failure) = failure {
            return Err(not_denied(&failure));
        }
        info!(%id, by_uid = standing.uid, "revoked");
        self.metrics.revocations.inc();
        self.metrics.revocation_denied.observe(denied_after.as_secs_f64());
        let so_far = RevokeReply {
            id,
            also,
            tasks,
            remaining: 0,
            denied_after_ms: millis(denied_after),
            stopped_after_ms: None,
        };
        Ok(Waiter { pending, arrived, so_far, reply: None })
    }

    /// A run's last task is gone: answers that waited for it alone are given.
    pub(super) fn settle_waiters(&mut self, id: Uuid) {
        for mut waiter in std::mem::take(&mut self.waiters) {
            if waiter.pending.remove(&id) && waiter.pending.is_empty() {
                let stopped_after = waiter.arrived.elapsed();
                self.metrics.revocation_stopped.observe(stopped_after.as_secs_f64());
                waiter.so_far.stopped_after_ms = Some(millis(stopped_after));
                self.answer_waiter(waiter);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// Gives the answers that have nothing to wait for, or have waited long enough.
    pub(super) fn give_up_waiting(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            if waiter.pending.is_empty() || waiter.arrived.elapsed() > PATIENCE {
                self.answer_waiter(waiter);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    fn answer_waiter(&mut self, mut waiter: Waiter) {
        let RevokeReply { id, also, .. } = &waiter.so_far;
        let ended = self.stopping.iter();
        let ended = ended.filter(|stopping| stopping.id == *id || also.contains(&stopping.id));
        let left = ended.filter_map(|stopping| self.activity(stopping.slot));
        waiter.so_far.remaining = left.map(|activity| activity.live).sum();
        if let Some(reply) = waiter.reply
            && reply.send(Ok(waiter.so_far)).is_err()
        {
            tracing::debug!("who asked for a revocation has gone");
        }
    }
}

fn not_denied(failure: &EffectError) -> ErrorReply {
    let message = format!("the kernel did not take the revocation: {}", chain(failure));
    ErrorReply::new(Code::Internal, message).remedy("the run's tasks are being killed all the same")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
