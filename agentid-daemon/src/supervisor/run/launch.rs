//! Launching: from a request to a tagged process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentid_common::{file::Rights, tag::Tag};
use thiserror::Error;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Supervisor, binding::BindingError, effects::EffectError};
use crate::{
    control::{
        api::{Code, DelegateRequest, ErrorReply, LaunchReply, LaunchRequest},
        caller::{self, Standing},
    },
    image::BindError,
    instance::{
        Phase, Place, Run,
        run::{OnEnd, PolicyVersion, RunMode},
    },
    supervisor::{
        command::{Answer, Caller},
        delegate, launch,
        refusal::Refusal,
        rules::RulesError,
        step::{Input, Launch, step},
        store::StoreError,
        view,
        why::Question,
    },
};

/// Why a run that was asked for rightly did not come about.
#[derive(Debug, Error)]
enum LaunchError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Binding(#[from] BindingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Effect(#[from] EffectError),
}

/// What a policy makes of a request.
struct Terms {
    version: PolicyVersion,
    text: String,
    ttl_ms: u64,
    mode: RunMode,
    on_end: OnEnd,
}

/// Where a launch comes from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// The user who may see and end the run.
    uid: u32,
    parent: Option<Uuid>,
    /// Whether the caller is a process of the run above.
    from_run: bool,
}

impl Supervisor {
    /// Makes the caller the first process of a new run.
    pub(super) fn launch(
        &mut self,
        caller: &Caller,
        standing: &Standing,
        request: LaunchRequest,
    ) -> Answer<LaunchReply> {
        let parent = request.parent.as_ref().map(|text| self.find(standing, text));
        let parent = parent.transpose()?.map(|run| run.id);
        self.launch_as(caller, Origin { uid: caller.uid, parent, from_run: false }, request)
    }

    /// Makes the caller, a process of a run, the first process of a run below that.
    pub(super) fn delegate(
        &mut self,
        caller: &Caller,
        tag: &Tag,
        request: DelegateRequest,
    ) -> Answer<LaunchReply> {
        let parent = self.state.registry.holder(tag.slot, tag.generation);
        let parent = parent.ok_or(Refusal::Gone)?;
        let policy_of = |version: &PolicyVersion| Some(&self.rules.document(version)?.policy);
        delegate::check(&self.state.registry, policy_of, parent, &request.policy)?;
        // Whoever left last would take the run above, and with it the new one, along.
        if self.activity(tag.slot).is_none_or(|activity| activity.live < 2) {
            return Err(Refusal::LastTask.into());
        }
        // What the run may not look at it is not told of either.
        for (param, path) in &request.params {
            if !self.may_read(parent, path) {
                let (param, path) = (param.clone(), path.clone());
                return Err(Refusal::NoFolder { param, path }.into());
            }
        }
        let origin = Origin { uid: parent.uid, parent: Some(parent.id), from_run: true };
        let request = delegate::request(parent, request);
        self.launch_as(caller, origin, request)
    }

    fn may_read(&self, run: &Run, path: &Path) -> bool {
        let Ok(place) = self.kernel.locate(path) else { return false };
        let facts = self.rules.at(self.kernel.boot_ns());
        let question = Question { run: run.into(), policy: None, object: "" };
        let reply = question.file(&facts, &place, Rights::READ);
        matches!(reply.verdict.as_str(), "allow" | "audit")
    }

    fn launch_as(
        &mut self,
        caller: &Caller,
        origin: Origin,
        request: LaunchRequest,
    ) -> Answer<LaunchReply> {
        self.try_launch(caller, origin, request).map_err(|failure| match failure {
            LaunchError::Refused(refusal) => refusal.into(),
            LaunchError::Binding(BindingError::Rules(RulesError::Bind { source, .. })) => {
                match source {
                    BindError::Full(full) => Refusal::NoRoom(full.to_string()).into(),
                    other => ErrorReply::new(Code::BadParams, other.to_string()),
                }
            }
            other => {
                let message = chain(&other);
                error!(%message, "a launch has failed");
                ErrorReply::new(Code::Internal, format!("the run was not launched: {message}"))
            }
        })
    }

    fn try_launch(
        &mut self,
        caller: &Caller,
        origin: Origin,
        request: LaunchRequest,
    ) -> Result<LaunchReply, LaunchError> {
        let Origin { uid, parent, from_run } = origin;
        launch::check(&request)?;
        let terms = self.terms(&request)?;
        folders_exist(&request.params)?;
        inspect(caller)?;

        let id = Uuid::now_v7();
        self.store.keep_policy(&terms.version, &terms.text)?;
        let generation = self.rules.generation();
        let bond = self.bind(id, &terms.version, &request.params)?;
        let now = self.now();
        let run = Run {
            id,
            agent: request.agent,
            owner: request.owner,
            task: request.task,
            purpose: request.purpose,
            labels: request.labels,
            policy: terms.version,
            params: request.params,
            mode: terms.mode,
            on_end: terms.on_end,
            names: bond.names,
            parent,
            above: Vec::new(),
            command: launch::shortened(&request.command),
            uid,
            tgid: caller.tgid,
            // The slot is chosen by the step.
            place: Place {
                slot: 0,
                generation,
                deadline: now.boot_ns.saturating_add(terms.ttl_ms.saturating_mul(1_000_000)),
            },
            launched_ms: now.wall_ms,
            launched_ns: now.boot_ns,
            phase: Phase::Active,
            frozen: false,
            groups: Default::default(),
            changes: Vec::new(),
            end: None,
        };
        let launch = Launch { run, bond, from_run };
        let effects = match step(&mut self.state, Input::Launch(Box::new(launch)), now) {
            Ok(effects) => effects,
            Err(refusal) => {
                self.garbage.extend(self.rules.unbind(id));
                return Err(refusal.into());
            }
        };
        for effect in effects {
            if let Err(failure) = self.carry_out(effect, Some(caller)) {
                self.input(Input::LaunchFailed(id));
                return Err(failure.into());
            }
        }
        let Some(run) = self.state.registry.get(id) else { return Err(Refusal::Gone.into()) };
        let reply = LaunchReply {
            id,
            policy: run.policy.to_string(),
            deadline_ms: view::wall_of(run.place.deadline, now),
        };
        // A thread that was started between the first look and the tag would go on without one.
        if let Err(refusal) = inspect(caller) {
            warn!(%id, %refusal, "the launching process has changed while it was tagged");
            self.input(Input::LaunchFailed(id));
            return Err(refusal.into());
        }
        info!(%id, policy = %reply.policy, uid = caller.uid, tgid = caller.tgid, "launched");
        Ok(reply)
    }

    fn terms(&self, request: &LaunchRequest) -> Result<Terms, Refusal> {
        let (version, document) = self.rules.current(&request.policy)?;
        let policy = &document.policy;
        launch::params(request, policy)?;
        Ok(Terms {
            version: version.clone(),
            text: document.text.clone(),
            ttl_ms: launch::ttl_ms(request, policy)?,
            mode: RunMode::of(policy.mode()),
            on_end: OnEnd::of(policy.on_end()),
        })
    }
}

/// The process that asks must be one thread that nobody steers.
fn inspect(caller: &Caller) -> Result<(), Refusal> {
    match caller::threads(caller) {
        None => Err(Refusal::Gone),
        Some((1, 0)) => Ok(()),
        Some((1, tracer)) => Err(Refusal::Traced(tracer)),
        Some((threads, _)) => Err(Refusal::Threads(threads)),
    }
}

fn folders_exist(params: &BTreeMap<String, PathBuf>) -> Result<(), Refusal> {
    match params.iter().find(|(_, path)| !path.is_dir()) {
        Some((param, path)) => Err(Refusal::NoFolder { param: param.clone(), path: path.clone() }),
        None => Ok(()),
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
