//! What a policy says of something that a run of it may ask for, without such a run.
//!
//! It is the question of [`super::why`], put to the host of one disk on which expectations are tried.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use agentid_common::{file::Rights, net::Verb};
use thiserror::Error;

use super::{
    expect,
    moving::Moving,
    refusal::Refusal,
    why::{self, Asker, Question},
};
use crate::{
    control::api::{Code, ErrorReply, NamedEndpoint, WhyReply, WhyRequest},
    image::{Assumed, BindError, CompileError, NamedPlace},
    instance::run::RunMode,
    policy::Policy,
};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ExplainError {
    #[error("compile policy {name}")]
    Compile { name: String, source: CompileError },
    #[error("bind the parameters of policy {name}")]
    Bind { name: String, source: BindError },
    #[error("{}", .0.message)]
    Refused(ErrorReply),
}

impl From<ErrorReply> for ExplainError {
    fn from(reply: ErrorReply) -> Self {
        Self::Refused(reply)
    }
}

impl From<Refusal> for ExplainError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

/// Whether a run of the policy with these parameters would be allowed it, and by which rule. Parameters that are not given
/// are folders that nothing else is said of; a question about a file takes all of them.
pub fn explain(
    policy: &Policy,
    given: &BTreeMap<String, PathBuf>,
    request: &WhyRequest,
) -> Result<WhyReply, ExplainError> {
    let name = || policy.name().to_owned();
    check(policy, given, request)?;
    let mut host =
        Assumed::new(policy).map_err(|source| ExplainError::Compile { name: name(), source })?;
    host.bind(&expect::folders(policy, given))
        .map_err(|source| ExplainError::Bind { name: name(), source })?;
    let (facts, rules) = (host.facts(), Some(policy));
    let mode = RunMode::of(policy.mode());
    let run = Asker { tag: host.tag(), mode, names: policy.grants_names() };
    let file = |path: &Path, want| {
        let object = path.display().to_string();
        let question = Question { run, texts: rules.into(), object: &object };
        question.file(&facts, &host.place(path), want)
    };
    // No name is taken there, and what is moved is no folder.
    let named = |path| NamedPlace { place: host.place(path), exists: false, folder: false };
    Ok(match request {
        WhyRequest::Open { path, want } => file(path, why::rights(want)?),
        WhyRequest::Create(name) => file(&name.path, Rights::CREATE),
        WhyRequest::Delete(name) => file(&name.path, Rights::DELETE),
        WhyRequest::Move { from, to } | WhyRequest::Link { from, to } => {
            let link = matches!(request, WhyRequest::Link { .. });
            let (old, new) = (named(from), named(to));
            let (from, to) = (from.display().to_string(), to.display().to_string());
            Moving { from: (&from, &old), to: (&to, &new), link }.why(&facts, run, rules.into())
        }
        WhyRequest::Connect(end) => why::end(&facts, run, rules, Verb::Connect, end),
        WhyRequest::ConnectName(end) => {
            let name = end.name.trim_end_matches('.').to_ascii_lowercase();
            let class = host.class(&name);
            let end = NamedEndpoint { name, ..end.clone() };
            why::supposed(&facts, run, rules, Verb::Connect, &end, class)
        }
        WhyRequest::Send(end) => why::end(&facts, run, rules, Verb::Send, end),
        WhyRequest::Listen(end) => why::end(&facts, run, rules, Verb::Listen, end),
        WhyRequest::Accept(end) => why::end(&facts, run, rules, Verb::Accept, end),
        WhyRequest::ConnectAbstract(it) => {
            why::check_abstract(&it.name)?;
            let name = host.abstract_name(&it.name);
            why::abstract_name(&facts, run, rules, &it.name, name, Rights::CONNECT)
        }
        WhyRequest::ListenAbstract(it) => {
            why::check_abstract(&it.name)?;
            let name = host.abstract_name(&it.name);
            why::abstract_name(&facts, run, rules, &it.name, name, Rights::CREATE)
        }
        WhyRequest::Capability(name) => why::capability(&facts, run, rules, name)?,
    })
}

/// What is given fits the policy, and is enough for the question.
fn check(
    policy: &Policy,
    given: &BTreeMap<String, PathBuf>,
    request: &WhyRequest,
) -> Result<(), ExplainError> {
    let name = || policy.name().to_owned();
    for (param, path) in given {
        if !policy.params().contains(param) {
            let known = policy.params().to_vec();
            return Err(
                Refusal::UnknownParam { policy: name(), param: param.clone(), known }.into()
            );
        }
        if !path.is_absolute() {
            return Err(Refusal::RelativeParam { param: param.clone(), path: path.clone() }.into());
        }
        plain(path)?;
    }
    let paths = match request {
        WhyRequest::Open { path, .. } => vec![path],
        WhyRequest::Create(name) | WhyRequest::Delete(name) => vec![&name.path],
        WhyRequest::Move { from, to } | WhyRequest::Link { from, to } => vec![from, to],
        _ => Vec::new(),
    };
    if !paths.is_empty() {
        paths.into_iter().try_for_each(|path| plain(path))?;
        if let Some(param) = policy.params().iter().find(|param| !given.contains_key(*param)) {
            return Err(Refusal::MissingParam { policy: name(), param: param.clone() }.into());
        }
    }
    Ok(())
}

/// On a host without links, `..` is a slip.
fn plain(path: &Path) -> Result<(), ErrorReply> {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if path.is_absolute() && path.components().all(is_plain) {
        return Ok(());
    }
    let message = format!("{} is no path from / on without `..`", path.display());
    Err(ErrorReply::new(Code::BadRequest, message, "write where the file really lies"))
}
