//! May this be launched? Everything about a request that can be judged without looking at the host.

use std::path::{Component, Path};

use crate::{
    control::api::{LaunchRequest, MAX_LABELS, MAX_NAME, MAX_PURPOSE, MAX_SAID},
    policy::Policy,
    supervisor::refusal::Refusal,
};

/// How much of a command is kept: arguments, bytes of each, and bytes of all.
const ARGUMENTS: usize = 32;
const ARGUMENT: usize = 256;
const COMMAND: usize = 2048;

/// Refuses what no policy could allow.
pub fn check(request: &LaunchRequest) -> Result<(), Refusal> {
    let required = [("agent", &request.agent), ("owner", &request.owner), ("task", &request.task)];
    for (field, value) in required {
        if value.trim().is_empty() {
            return Err(Refusal::Missing { field });
        }
        text(field, value, MAX_NAME)?;
    }
    if let Some(whom) = &request.on_behalf_of {
        if whom.trim().is_empty() {
            return Err(Refusal::Missing { field: "on_behalf_of" });
        }
        text("on_behalf_of", whom, MAX_NAME)?;
    }
    if let Some(purpose) = &request.purpose {
        text("purpose", purpose, MAX_PURPOSE)?;
    }
    let count = request.labels.len();
    if count > MAX_LABELS {
        return Err(Refusal::ManyLabels { count, limit: MAX_LABELS });
    }
    for (key, value) in &request.labels {
        text("the name of a label", key, MAX_NAME)?;
        text(&format!("label {key}"), value, MAX_NAME)?;
    }
    let bytes = said(request);
    if bytes > MAX_SAID {
        return Err(Refusal::MuchSaid { bytes, limit: MAX_SAID });
    }
    Ok(())
}

/// How many bytes the daemon is to keep of it, but for the command.
fn said(request: &LaunchRequest) -> usize {
    let LaunchRequest { agent, owner, on_behalf_of, task, purpose, params, labels, .. } = request;
    let texts = [Some(agent), Some(owner), on_behalf_of.as_ref(), Some(task), purpose.as_ref()];
    let texts = texts.into_iter().flatten().map(String::len);
    let params = params.iter().map(|(name, path)| name.len() + path.as_os_str().len());
    let labels = labels.iter().map(|(name, value)| name.len() + value.len());
    texts.chain(params).chain(labels).sum()
}

/// Refuses what cannot be an owner.
pub fn owner(owner: &str) -> Result<(), Refusal> {
    if owner.trim().is_empty() {
        return Err(Refusal::Missing { field: "owner" });
    }
    text("owner", owner, MAX_NAME)
}

/// Refuses a reason for a revocation that no log should carry.
pub fn reason(reason: Option<&str>) -> Result<(), Refusal> {
    reason.map_or(Ok(()), |reason| text("the reason", reason, MAX_PURPOSE))
}

/// How long the run may live, in milliseconds.
pub fn ttl_ms(request: &LaunchRequest, policy: &Policy) -> Result<u64, Refusal> {
    let limit_ms = millis(policy.max_ttl());
    match request.ttl_ms {
        None => Ok(millis(policy.ttl())),
        Some(0) => Err(Refusal::NoTtl),
        Some(asked_ms) if asked_ms > limit_ms => Err(Refusal::LongTtl { asked_ms, limit_ms }),
        Some(asked_ms) => Ok(asked_ms),
    }
}

/// The parameters must be exactly those that the policy declares, as absolute paths.
pub fn params(request: &LaunchRequest, policy: &Policy) -> Result<(), Refusal> {
    let known = policy.params();
    let name = || policy.name().to_owned();
    if let Some(param) = known.iter().find(|param| !request.params.contains_key(*param)) {
        return Err(Refusal::MissingParam { policy: name(), param: param.clone() });
    }
    for (param, path) in &request.params {
        let (param, path) = (param.clone(), path.clone());
        if !known.contains(&param) {
            return Err(Refusal::UnknownParam { policy: name(), param, known: known.to_vec() });
        }
        if !plain(&path) {
            return Err(Refusal::RelativeParam { param, path });
        }
    }
    Ok(())
}

/// The part of a command that is kept.
pub fn shortened(command: &[String]) -> Vec<String> {
    let mut left = COMMAND;
    let mut kept: Vec<String> = Vec::new();
    for argument in command.iter().take(ARGUMENTS).map(|argument| cut(argument, ARGUMENT)) {
        if argument.len() > left {
            break;
        }
        left -= argument.len();
        kept.push(argument);
    }
    if kept.len() < command.len() {
        kept.push("…".to_owned());
    }
    kept
}

fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

fn text(field: &str, value: &str, limit: usize) -> Result<(), Refusal> {
    let (field, length) = (field.to_owned(), value.chars().count());
    if length > limit {
        return Err(Refusal::Long { field, length, limit });
    }
    if value.chars().any(char::is_control) {
        return Err(Refusal::Control { field });
    }
    Ok(())
}

/// Whether the path names one place whoever reads it: from `/` on, and without `..`.
fn plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| matches!(part, Component::ParentDir))
}

pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
