//! Which runs a request is about.

use uuid::Uuid;

use crate::{control::api::Selector, instance::Run};

impl Selector {
    /// Whether it says nothing at all, which is no selection.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the run is what every filter asks for. `parent` is the run that `children_of` names.
    pub fn matches(&self, run: &Run, parent: Option<Uuid>, now_ms: u64) -> bool {
        let same = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        let age_ms = now_ms.saturating_sub(run.launched_ms);
        same(&self.agent, &run.agent)
            && same(&self.owner, &run.owner)
            && same(&self.task, &run.task)
            && same(&self.policy, &run.policy.name)
            && self.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value))
            && self.older_than_ms.is_none_or(|least| age_ms >= least)
            && (self.children_of.is_none() || (parent.is_some() && run.parent == parent))
    }
}
