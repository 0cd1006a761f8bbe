//! May a run start one below itself? What can be judged without looking at the host.

use super::refusal::Refusal;
use crate::{
    control::api::{DelegateRequest, LaunchRequest},
    instance::{Registry, Run, run::PolicyVersion},
    policy::Policy,
};

/// What the run above leaves to choose, and what it does not.
pub fn request(parent: &Run, asked: DelegateRequest) -> LaunchRequest {
    let DelegateRequest { policy, agent, task, purpose, params, ttl_ms, labels, command } = asked;
    LaunchRequest {
        policy,
        agent: agent.unwrap_or_else(|| parent.agent.clone()),
        owner: parent.owner.clone(),
        on_behalf_of: parent.on_behalf_of.clone(),
        task: task.unwrap_or_else(|| parent.task.clone()),
        purpose: purpose.or_else(|| parent.purpose.clone()),
        params,
        ttl_ms,
        parent: Some(parent.id.to_string()),
        labels,
        command,
    }
}

/// What of a refusal is too much, rather than not delegated at all.
pub fn excess(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::FanOut { limit, .. } => {
            Some(format!("it asked for one more run below it than {limit}"))
        }
        Refusal::Levels { policy, limit } => {
            Some(format!("it asked for a run deeper than the {limit} of {policy}"))
        }
        _ => None,
    }
}

/// Refuses what the policy of the run does not delegate, and what is too deep for the policy of any run above.
pub fn check<'p>(
    registry: &Registry,
    policy_of: impl Fn(&PolicyVersion) -> Option<&'p Policy>,
    parent: &Run,
    name: &str,
) -> Result<(), Refusal> {
    let policy = || parent.policy.name.clone();
    let delegate = policy_of(&parent.policy).and_then(Policy::delegate);
    let delegate = delegate.ok_or_else(|| Refusal::NoDelegation { policy: policy() })?;
    if !delegate.names().any(|known| known == name) {
        let known = delegate.names().map(ToOwned::to_owned).collect();
        return Err(Refusal::NotDelegated { policy: policy(), name: name.to_owned(), known });
    }
    let children = registry.live().filter(|run| run.parent == Some(parent.id)).count();
    let limit = delegate.fan_out;
    if u32::try_from(children).is_ok_and(|children| children >= limit) {
        return Err(Refusal::FanOut { policy: policy(), limit });
    }
    // The new run is one level below its parent, two below the next, and so on.
    let chain = std::iter::once(&parent.id).chain(&parent.above);
    for (level, run) in (1..).zip(chain.filter_map(|id| registry.get(*id))) {
        let limit = policy_of(&run.policy).and_then(Policy::delegate).map(|it| it.depth);
        if let Some(limit) = limit.filter(|limit| level > *limit) {
            return Err(Refusal::Levels { policy: run.policy.name.clone(), limit });
        }
    }
    Ok(())
}
