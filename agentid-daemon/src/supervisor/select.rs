//! Which runs a request is about.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{refusal::Refusal, step::Now};
use crate::{
    control::api::Selector,
    instance::{Phase, Registry, Run},
};

/// A selector, and the runs that it names by their IDs.
#[derive(Clone, Debug)]
pub struct Meant {
    selector: Selector,
    named: Option<Uuid>,
    parent: Option<Uuid>,
}

impl Meant {
    /// Looks the IDs up among the runs that are seen.
    pub fn find(
        registry: &Registry,
        selector: &Selector,
        sees: impl Fn(&Run) -> bool,
    ) -> Result<Self, Refusal> {
        let find = |text: &Option<String>| -> Result<Option<Uuid>, Refusal> {
            let Some(text) = text else { return Ok(None) };
            Ok(Some(registry.find(text, &sees)?.id))
        };
        let (named, parent) = (find(&selector.id)?, find(&selector.children_of)?);
        Ok(Self { selector: selector.clone(), named, parent })
    }

    /// Whether it means this run, as it is now.
    pub fn means(&self, run: &Run, now: Now) -> bool {
        self.named.is_none_or(|named| named == run.id)
            && self.selector.matches(run, self.parent, now)
    }
}

/// The runs to act upon, of those that are seen. One that is named is taken whatever its phase is, so that its author is told
/// why not.
pub fn selected(
    registry: &Registry,
    selector: &Selector,
    sees: impl Fn(&Run) -> bool,
    which: impl Fn(Phase) -> bool,
    now: Now,
) -> Result<Vec<Uuid>, Refusal> {
    if selector.is_empty() {
        return Err(Refusal::NoSelection);
    }
    let named = selector.id.is_some();
    let found = find_all(registry, selector, sees, now)?;
    Ok(found.into_iter().filter(|run| named || which(run.phase)).map(|run| run.id).collect())
}

/// The runs that a selector means, of those that are seen; all of them when it says nothing.
pub fn find_all<'a>(
    registry: &'a Registry,
    selector: &Selector,
    sees: impl Fn(&Run) -> bool,
    now: Now,
) -> Result<Vec<&'a Run>, Refusal> {
    let meant = Meant::find(registry, selector, &sees)?;
    Ok(registry.all().filter(|run| sees(run) && meant.means(run, now)).collect())
}

/// The live ones of them, with all that is live below them, each once.
pub fn find_trees<'a>(
    registry: &'a Registry,
    selector: &Selector,
    sees: impl Fn(&Run) -> bool,
    now: Now,
) -> Result<Vec<&'a Run>, Refusal> {
    let meant = find_all(registry, selector, &sees, now)?;
    let tops: Vec<Uuid> =
        meant.iter().filter(|run| run.phase.holds_slot()).map(|it| it.id).collect();
    let below = tops.iter().flat_map(|top| registry.all_below(*top));
    let ids: BTreeSet<Uuid> = tops.iter().copied().chain(below).collect();
    Ok(ids.into_iter().filter_map(|id| registry.get(id)).filter(|run| sees(run)).collect())
}

impl Selector {
    /// Whether it says nothing at all, which is no selection.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the run is what every filter asks for. `parent` is the run that `children_of` names.
    pub fn matches(&self, run: &Run, parent: Option<Uuid>, now: Now) -> bool {
        let same = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        same(&self.agent, &run.agent)
            && same(&self.owner, &run.owner)
            && same(&self.task, &run.task)
            && same(&self.policy, &run.policy.name)
            && self.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value))
            && self.older_than_ms.is_none_or(|least| age_ms(run, now) >= least)
            && (self.children_of.is_none() || (parent.is_some() && run.parent == parent))
    }
}

/// What lives is as old as the kernel's clock says, which nobody can set; a run that is over, or was not launched by this boot's
/// clock, as the wall clock says.
fn age_ms(run: &Run, now: Now) -> u64 {
    if run.phase.holds_slot() && run.launched_ns != 0 {
        now.boot_ns.saturating_sub(run.launched_ns) / 1_000_000
    } else {
        now.wall_ms.saturating_sub(run.launched_ms)
    }
}
