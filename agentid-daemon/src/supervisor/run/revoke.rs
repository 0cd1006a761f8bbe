//! Revoking, and the answers that wait for the last task to be gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use agentid_common::tag::Tag;
use tracing::info;
use uuid::Uuid;

use super::{Supervisor, effects::EffectError, launch::chain};
use crate::{
    control::{
        api::{
            Code, EndRequest, ErrorReply, RevokeAllReply, RevokeAllRequest, RevokeReply,
            RevokeRequest,
        },
        caller::{Ask, Standing},
    },
    instance::{Phase, run::OnEnd},
    supervisor::{
        command::{Answer, Reply},
        launch,
        refusal::Refusal,
        step::{Actor, Effect, Input, step},
    },
};

/// After this an answer no longer waits for tasks that do not go.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A revocation whose tasks are not all gone.
#[derive(Debug)]
pub(super) struct Waiter {
    arrived: Instant,
    denied_after: Duration,
    parts: Vec<Part>,
    /// Runs whose tasks are killed and not all gone, each with the parts that wait for it.
    pending: BTreeMap<Uuid, Vec<usize>>,
    reply: Asked,
}

/// One run that was named or selected, with those that end with it.
#[derive(Debug)]
struct Part {
    /// How many of them have tasks that are killed and not all gone.
    pending: usize,
    so_far: RevokeReply,
}

/// What has come of it so far.
struct Ended {
    denied_after: Duration,
    parts: Vec<Part>,
    pending: BTreeMap<Uuid, Vec<usize>>,
}

/// How it was asked for.
#[derive(Debug)]
enum Asked {
    One(Reply<RevokeReply>),
    All(Reply<RevokeAllReply>),
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
        let found = self.find(standing, text).map(|run| (run.id, run.uid));
        let allowed = found.and_then(|(id, uid)| standing.may(Ask::RunOf(uid)).map(|()| vec![id]));
        let begun = allowed.and_then(|ids| {
            launch::reason(request.reason.as_deref())?;
            self.begin(standing, ids, (request.reason, request.kill), arrived)
        });
        match begun {
            Ok(ended) => self.wait("revoke", arrived, ended, Asked::One(reply)),
            Err(refused) => self.reply("revoke", reply, Err(refused)),
        }
    }

    /// A run ends itself, with all below it. It is known by its tag alone, and the record says whose wish it was.
    pub(super) fn end(
        &mut self,
        standing: &Standing,
        tag: Option<Tag>,
        request: EndRequest,
        arrived: Instant,
        reply: Reply<RevokeReply>,
    ) {
        let own = tag.and_then(|tag| self.state.registry.holder(tag.slot, tag.generation));
        let own = own.map(|run| run.id).ok_or_else(|| ErrorReply::from(Refusal::Gone));
        let begun = own.and_then(|id| {
            launch::reason(request.reason.as_deref())?;
            let reason = request
                .reason
                .map_or_else(|| "by itself".to_owned(), |reason| format!("by itself: {reason}"));
            self.begin(standing, vec![id], (Some(reason), false), arrived)
        });
        match begun {
            Ok(ended) => self.wait("end", arrived, ended, Asked::One(reply)),
            Err(refused) => self.reply("end", reply, Err(refused)),
        }
    }

    pub(super) fn revoke_all(
        &mut self,
        standing: &Standing,
        request: &RevokeAllRequest,
        arrived: Instant,
        reply: Reply<RevokeAllReply>,
    ) {
        let &RevokeAllRequest { kill, ref reason, .. } = request;
        let which = |phase: Phase| if kill { phase.holds_slot() } else { phase.is_live() };
        let ids = self.selected(standing, &request.select, which);
        let begun = ids.and_then(|ids| {
            launch::reason(reason.as_deref())?;
            self.begin(standing, ids, (reason.clone(), kill), arrived)
        });
        match begun {
            Ok(ended) => self.wait("revoke", arrived, ended, Asked::All(reply)),
            Err(refused) => self.reply("revoke", reply, Err(refused)),
        }
    }

    fn wait(&mut self, verb: &str, arrived: Instant, ended: Ended, reply: Asked) {
        self.count(verb, &Ok(()));
        let Ended { denied_after, parts, pending } = ended;
        self.waiters.push(Waiter { arrived, denied_after, parts, pending, reply });
        self.give_up_waiting();
    }

    /// Ends the runs. All of them, and all below, are denied everything before the first task is stopped.
    fn begin(
        &mut self,
        standing: &Standing,
        ids: Vec<Uuid>,
        (reason, kill): (Option<String>, bool),
        arrived: Instant,
    ) -> Answer<Ended> {
        let trees = self.state.registry.trees(&ids, kill);
        let input = Input::Revoke { ids, kill, by: Actor { uid: standing.uid, reason } };
        let now = self.now();
        // Counted before the denial: from there on the kernel ends them by itself.
        let tasks: Vec<u64> = trees
            .iter()
            .map(|(id, also)| also.iter().chain([id]).map(|id| self.live(*id)).sum())
            .collect();
        let mut effects = step(&mut self.state, input, now)?.into_iter().peekable();

        // First every run in question is denied everything, and then the time is taken.
        let mut failure = None;
        while let Some(denial) = effects.next_if(|effect| matches!(effect, Effect::Deny { .. })) {
            failure = self.carry_out(denial, None).err().or(failure);
        }
        let denied_after = arrived.elapsed();
        let killed: BTreeSet<Uuid> = effects
            .clone()
            .filter_map(|effect| match effect {
                Effect::Stop { id, how: OnEnd::Kill } => Some(id),
                _ => None,
            })
            .collect();
        self.perform(effects.collect());
        let frozen_after = millis(arrived.elapsed());
        if let Some(failure) = failure {
            return Err(not_denied(&failure, !killed.is_empty()));
        }
        let mut pending: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        let parts =
            trees.into_iter().zip(tasks).enumerate().map(|(number, ((id, also), tasks))| {
                info!(%id, by_uid = standing.uid, "revoked");
                self.metrics.revocations.inc();
                self.metrics.revocation_denied.observe(denied_after.as_secs_f64());
                let left: Vec<Uuid> =
                    also.iter().chain([&id]).filter(|id| killed.contains(*id)).copied().collect();
                left.iter().for_each(|id| pending.entry(*id).or_default().push(number));
                let (connections, hung_up) = self.hung_up(also.iter().chain([&id]), arrived);
                let frozen = self.state.registry.stand_still(also.iter().chain([&id]));
                let so_far = RevokeReply {
                    id,
                    also,
                    tasks,
                    remaining: 0,
                    denied_after_ms: millis(denied_after),
                    connections,
                    hung_up_after_ms: hung_up.map(|at| millis(at - arrived)),
                    frozen_after_ms: frozen.then_some(frozen_after),
                    stopped_after_ms: None,
                };
                Part { pending: left.len(), so_far }
            });
        let parts = parts.collect();
        Ok(Ended { denied_after, parts, pending })
    }

    /// How many tasks of a run are alive.
    fn live(&self, id: Uuid) -> u64 {
        let slot = self.state.registry.get(id).map(|run| run.place.slot);
        slot.and_then(|slot| self.activity(slot)).map_or(0, |activity| activity.live)
    }

    /// A run's last task is gone: answers that waited for it alone are given.
    pub(super) fn settle_waiters(&mut self, id: Uuid) {
        for mut waiter in std::mem::take(&mut self.waiters) {
            for number in waiter.pending.remove(&id).unwrap_or_default() {
                let Some(part) = waiter.parts.get_mut(number) else { continue };
                part.pending -= 1;
                if part.pending == 0 {
                    let stopped_after = waiter.arrived.elapsed();
                    self.metrics.revocation_stopped.observe(stopped_after.as_secs_f64());
                    part.so_far.stopped_after_ms = Some(millis(stopped_after));
                }
            }
            self.waiters.push(waiter);
        }
        self.give_up_waiting();
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

    fn answer_waiter(&mut self, waiter: Waiter) {
        let Waiter { denied_after, parts, reply, .. } = waiter;
        let mut runs: Vec<RevokeReply> = parts.into_iter().map(|part| part.so_far).collect();
        for run in &mut runs {
            let all = run.also.iter().chain([&run.id]);
            let ended = all.filter_map(|id| self.stopping.get(id));
            let left = ended.filter_map(|stopping| self.activity(stopping.slot));
            run.remaining = left.map(|activity| activity.live).sum();
        }
        let gone = match reply {
            Asked::One(reply) => runs.pop().is_some_and(|run| reply.send(Ok(run)).is_err()),
            Asked::All(reply) => {
                let times = runs.iter().map(|run| run.stopped_after_ms);
                let stopped = times.collect::<Option<Vec<f64>>>();
                let last = stopped.and_then(|times| times.into_iter().reduce(f64::max));
                let answer = RevokeAllReply {
                    runs,
                    denied_after_ms: millis(denied_after),
                    stopped_after_ms: last,
                };
                reply.send(Ok(answer)).is_err()
            }
        };
        if gone {
            tracing::debug!("who asked for a revocation has gone");
        }
    }
}

fn not_denied(failure: &EffectError, killed: bool) -> ErrorReply {
    let message = format!("the kernel did not take the revocation: {}", chain(failure));
    let remedy = if killed {
        "the run's tasks are being killed all the same"
    } else {
        "revoke it with --kill, so that its tasks are killed all the same"
    };
    ErrorReply::new(Code::Internal, message, remedy)
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
