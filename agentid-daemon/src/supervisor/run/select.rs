//! The runs that a selector means, as far as the caller may see them.

use uuid::Uuid;

use super::Supervisor;
use crate::{
    control::{
        api::{Code, ErrorReply, RunView, SelectRequest, Selector},
        caller::Standing,
    },
    instance::{Phase, Run},
    supervisor::{command::Answer, select},
};

/// Most runs that are shown with all that is known of them now, for which their cgroups are read: nothing else is done
/// meanwhile.
const MOST_WHOLE: usize = 500;

impl Supervisor {
    /// The runs to act upon.
    pub(super) fn selected(
        &self,
        standing: &Standing,
        selector: &Selector,
        which: impl Fn(Phase) -> bool,
    ) -> Answer<Vec<Uuid>> {
        let (registry, now) = (&self.state.registry, self.now());
        let sees = |run: &Run| standing.sees(run.uid);
        Ok(select::selected(registry, selector, sees, which, now)?)
    }

    /// The runs to look at, the oldest first; all of them when nothing is selected.
    pub(super) fn select(
        &self,
        standing: &Standing,
        request: &SelectRequest,
    ) -> Answer<Vec<RunView>> {
        let SelectRequest { select, ended, whole } = request;
        let (registry, now) = (&self.state.registry, self.now());
        let sees = |run: &Run| standing.sees(run.uid);
        let mut found = select::find_all(registry, select, sees, now)?;
        found.retain(|run| *ended || run.phase.holds_slot());
        if *whole && found.len() > MOST_WHOLE {
            let message = format!("{} runs are selected, more than are shown whole", found.len());
            let remedy = format!("select at most {MOST_WHOLE}; agentid ps lists them all");
            return Err(ErrorReply::new(Code::BadRequest, message, remedy));
        }
        let mut views = if *whole {
            self.show_all(&found)
        } else {
            found.into_iter().map(|run| self.view(run)).collect()
        };
        for view in &mut views {
            view.below = u64::try_from(registry.descendants(view.id).len()).ok();
        }
        Ok(views)
    }
}
