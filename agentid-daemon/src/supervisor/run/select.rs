//! The runs that a selector means, as far as the caller may see them.

use uuid::Uuid;

use super::Supervisor;
use crate::{
    control::{
        api::{RunView, Selector},
        caller::Standing,
    },
    instance::{Phase, Run},
    supervisor::{command::Answer, refusal::Refusal},
};

impl Supervisor {
    /// The runs to act upon. One that is named is taken whatever its phase is, so that it is told why not.
    pub(super) fn selected(
        &self,
        standing: &Standing,
        selector: &Selector,
        which: impl Fn(Phase) -> bool,
    ) -> Answer<Vec<Uuid>> {
        if selector.is_empty() {
            return Err(Refusal::NoSelection.into());
        }
        let named = selector.id.is_some();
        let found = self.find_all(standing, selector)?;
        Ok(found.into_iter().filter(|run| named || which(run.phase)).map(|run| run.id).collect())
    }

    /// The runs to look at, the oldest first; all of them when nothing is selected.
    pub(super) fn select(
        &self,
        standing: &Standing,
        selector: &Selector,
        ended: bool,
    ) -> Answer<Vec<RunView>> {
        let found = self.find_all(standing, selector)?.into_iter();
        let wanted = found.filter(|run| ended || run.phase.holds_slot());
        Ok(wanted.map(|run| self.view(run)).collect())
    }

    fn find_all(&self, standing: &Standing, selector: &Selector) -> Answer<Vec<&Run>> {
        let named = selector.id.as_ref().map(|text| self.find(standing, text)).transpose()?;
        let parent = selector.children_of.as_ref().map(|text| self.find(standing, text));
        let parent = parent.transpose()?.map(|run| run.id);
        let now_ms = self.now().wall_ms;
        let wanted = |run: &&Run| {
            standing.sees(run.uid)
                && named.is_none_or(|named| named.id == run.id)
                && selector.matches(run, parent, now_ms)
        };
        Ok(self.state.registry.all().filter(wanted).collect())
    }
}
