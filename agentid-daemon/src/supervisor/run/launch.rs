//! Launching: from a request to a tagged process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentid_common::{file::Rights, tag::Tag};
use thiserror::Error;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Supervisor, binding::BindingError, effects::EffectError, enclose, enlist, first::First,
};
use crate::{
    control::{
        account,
        api::{
            AdoptReply, AdoptRequest, Code, DelegateRequest, ErrorReply, LOG, LaunchReply,
            LaunchRequest,
        },
        caller::{self, Standing},
    },
    image::BindError,
    instance::{
        Bounds, Phase, Place, Run,
        run::{self, FolderId, OnEnd, PolicyVersion, RunMode},
    },
    policy::{Excess, Policy},
    supervisor::{
        command::{Answer, Caller},
        delegate, launch,
        refusal::Refusal,
        rules::RulesError,
        step::{Input, Launch, Way, step},
        store::StoreError,
        view,
        why::{Question, Texts},
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
    bounds: Bounds,
}

/// Where a launch comes from.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    id: Uuid,
    /// The user who may see and end the run.
    uid: u32,
    /// Who asks.
    caller: &'a Caller,
    parent: Option<Uuid>,
    way: Way,
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
        let origin =
            Origin { id: Uuid::now_v7(), uid: caller.uid, caller, parent, way: Way::Launch };
        self.launch_as(First::Caller(caller), origin, request)
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
        let (registry, name) = (&self.state.registry, &request.policy);
        if let Err(refusal) = delegate::check(registry, policy_of, parent, name) {
            let excess = delegate::excess(&refusal).filter(|_| {
                let delegate = policy_of(&parent.policy).and_then(Policy::delegate);
                delegate.is_some_and(|delegate| delegate.on_excess == Excess::End)
            });
            let id = parent.id;
            if let Some(reason) = excess {
                self.exceed(id, reason);
            }
            return Err(refusal.into());
        }
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
        let origin = Origin {
            id: Uuid::now_v7(),
            uid: parent.uid,
            caller,
            parent: Some(parent.id),
            way: Way::Delegate,
        };
        let request = delegate::request(parent, request);
        self.launch_as(First::Caller(caller), origin, request)
    }

    /// Makes processes that run already a run.
    pub(super) fn enlist(
        &mut self,
        caller: &Caller,
        standing: &Standing,
        request: AdoptRequest,
    ) -> Answer<AdoptReply> {
        let (from, mut request) = enlist::parts(request);
        let parent = request.parent.as_ref().map(|text| self.find(standing, text));
        let parent = parent.transpose()?.map(|run| run.id);
        // What is refused in any case is refused before anybody has to stand still.
        launch::check(&request)?;
        let terms = self.terms(&request)?;
        let above = parent.and_then(|parent| self.around(parent));
        let above = above.map(|(above, _)| above.policy.name.clone());
        let limiting = above.or_else(|| (!terms.bounds.is_none()).then_some(terms.version.name));
        if let Some(policy) = limiting {
            return Err(Refusal::LimitsAtLaunch { policy }.into());
        }
        self.folders_exist(&request.params)?;
        let id = Uuid::now_v7();
        let gathered = self
            .kernel
            .gather(&from, &run::group_name(id), caller.tgid)
            .map_err(|it| enlist::refused(&it))?;
        if request.command.is_empty() {
            request.command = caller::command_of(gathered.first).unwrap_or_default();
        }
        let origin = Origin { id, uid: gathered.uid, caller, parent, way: Way::Adopt };
        let launched = self.launch_as(First::Gathered(&gathered), origin, request);
        let freed = match launched {
            Ok(_) => gathered.let_go(),
            Err(_) => gathered.scatter(),
        };
        if let Err(failure) = freed {
            error!(message = %chain(&failure), "processes that were gathered still stand still");
            let message = format!("they stand still still: {}", chain(&failure));
            return Err(ErrorReply::new(
                Code::Internal,
                message,
                "write 0 to the cgroup.freeze of the group, which is named agentid-ID",
            ));
        }
        let processes = gathered.processes.iter().copied().collect();
        launched.map(|run| AdoptReply { run, processes })
    }

    fn given(&self, id: Uuid) -> BTreeMap<String, FolderId> {
        let given = self.rules.given(id).into_iter().flatten();
        given.map(|(param, key)| (param.clone(), (*key).into())).collect()
    }

    /// Asks nobody else about it, who might not answer: what lies on such a filesystem is no folder.
    fn folders_exist(&mut self, params: &BTreeMap<String, PathBuf>) -> Answer<()> {
        let paths: Vec<PathBuf> = params.values().cloned().collect();
        let terrain = self.survey(&paths).map_err(|failure| {
            ErrorReply::new(
                Code::Internal,
                format!("look at the folders: {}", chain(&failure)),
                LOG,
            )
        })?;
        match params.iter().find(|(_, path)| !terrain.has_folder(path)) {
            Some((param, path)) => Err(no_folder(param, path).into()),
            None => Ok(()),
        }
    }

    fn may_read(&self, run: &Run, path: &Path) -> bool {
        let Ok(place) = self.kernel.locate(path) else { return false };
        let facts = self.rules.at(self.kernel.boot_ns());
        let question = Question { run: run.into(), texts: Texts::default(), object: "" };
        let reply = question.file(&facts, &place, Rights::READ);
        matches!(reply.verdict.as_str(), "allow" | "audit")
    }

    fn launch_as(
        &mut self,
        first: First<'_>,
        origin: Origin<'_>,
        request: LaunchRequest,
    ) -> Answer<LaunchReply> {
        let params = request.params.clone();
        let of = |folder: &Path| params.iter().find(|(_, path)| *path == folder);
        self.try_launch(first, origin, request).map_err(|failure| match failure {
            LaunchError::Refused(refusal) => refusal.into(),
            LaunchError::Binding(BindingError::Rules(RulesError::Bind { source, .. })) => {
                match source {
                    BindError::Full(full) => Refusal::NoRoom(full.to_string()).into(),
                    BindError::NotThere(folder) | BindError::NotAFolder(folder)
                        if let Some((param, path)) = of(&folder) =>
                    {
                        no_folder(param, path).into()
                    }
                    other => {
                        let remedy =
                            "give other folders with --param, or try again where that is said";
                        ErrorReply::new(Code::BadParams, other.to_string(), remedy)
                    }
                }
            }
            other => {
                let message = chain(&other);
                error!(%message, "a launch has failed");
                let message = format!("the run was not launched: {message}");
                ErrorReply::new(Code::Internal, message, LOG)
            }
        })
    }

    fn try_launch(
        &mut self,
        first: First<'_>,
        origin: Origin<'_>,
        request: LaunchRequest,
    ) -> Result<LaunchReply, LaunchError> {
        let Origin { id, uid, caller, parent, way } = origin;
        launch::check(&request)?;
        let terms = self.terms(&request)?;
        // Before the kernel programs are asked about it.
        self.state.enforces()?;
        first.inspect(&self.kernel)?;

        self.store.keep_policy(&terms.version, &terms.text)?;
        let generation = self.rules.generation();
        let enclosure = self.build(id, parent, &terms.version.name, terms.bounds)?;
        let group = enclosure.as_ref().map(|it| it.group.clone());
        let moves = group.is_some() || parent.is_some_and(|parent| self.around(parent).is_some());
        let from = moves.then(|| Self::whence(first)).flatten();
        let bond = match self.bind(id, &terms.version, &request.params) {
            Ok(bond) => bond,
            Err(failure) => {
                self.groups_left.extend(group);
                return Err(failure.into());
            }
        };
        let now = self.now();
        let run = Run {
            id,
            agent: request.agent,
            owner: request.owner,
            task: request.task,
            on_behalf_of: request.on_behalf_of,
            purpose: request.purpose,
            labels: request.labels,
            policy: terms.version,
            params: request.params,
            given: self.given(id),
            mode: terms.mode,
            on_end: terms.on_end,
            names: bond.names,
            parent,
            above: Vec::new(),
            command: launch::shortened(&request.command),
            uid,
            tgid: first.tgid(),
            issued_by: Some(run::Issuer {
                uid: caller.uid,
                tgid: caller.tgid,
                executable: caller::executable(caller),
            }),
            // The slot is chosen by the step.
            place: Place {
                slot: 0,
                generation,
                deadline: now.boot_ns.saturating_add(terms.ttl_ms.saturating_mul(1_000_000)),
            },
            launched_ms: now.wall_ms,
            launched_ns: now.boot_ns,
            phase: Phase::Active,
            account: Some(account::of(uid)),
            frozen: false,
            held_by: None,
            outlasts: false,
            groups: match first {
                First::Caller(_) => group.iter().cloned().collect(),
                First::Gathered(gathered) => [gathered.group.clone()].into(),
            },
            enclosure,
            changes: Vec::new(),
            end: None,
        };
        let launch = Launch { run, bond, way };
        let effects = match step(&mut self.state, Input::Launch(Box::new(launch)), now) {
            Ok(effects) => effects,
            Err(refusal) => {
                self.garbage.extend(self.rules.unbind(id));
                self.groups_left.extend(group);
                return Err(refusal.into());
            }
        };
        for effect in effects {
            if let Err(failure) = self.carry_out(effect, Some(first)) {
                Self::put_back(first, from.as_deref());
                self.input(Input::LaunchFailed { id, tagged: false });
                return Err(failure.into());
            }
        }
        let Some(run) = self.state.registry.get(id) else { return Err(Refusal::Gone.into()) };
        let reply = LaunchReply {
            id,
            policy: run.policy.to_string(),
            deadline_ms: view::wall_of(run.place.deadline, now),
        };
        // What was started or opened between the first look and the tag would go on without any question. A tag is not
        // taken back: the process, and whatever it has started since, ends with the run.
        if let Err(refusal) = first.inspect(&self.kernel) {
            warn!(%id, %refusal, "the launching process has changed while it was tagged");
            self.input(Input::LaunchFailed { id, tagged: true });
            return Err(refusal.into());
        }
        info!(%id, policy = %reply.policy, uid, tgid = first.tgid(), "launched");
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
            bounds: enclose::bounds(policy),
        })
    }
}

fn no_folder(param: &str, path: &Path) -> Refusal {
    Refusal::NoFolder { param: param.to_owned(), path: path.to_owned() }
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
