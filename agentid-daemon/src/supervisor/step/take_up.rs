//! What an earlier daemon has left.

use agentid_common::instance::State as SlotState;

use super::{
    Effect, Now, State,
    end::{ended, stopped},
    forget,
};
use crate::{
    event::event::What,
    instance::{Demand, Ending, Phase, Run, run::End},
};

impl State {
    pub(super) fn adopt(&mut self, mut run: Run, slot_state: SlotState, now: Now) -> Vec<Effect> {
        let (id, slot) = (run.id, run.place.slot);
        // The table may be ahead of the file (the daemon died between the two), and the file of the table when the
        // machine stopped in between. Whichever says that the run is over is right.
        let ending = run.phase.ending().or(match slot_state {
            SlotState::ACTIVE | SlotState::SUSPENDED => None,
            SlotState::EXPIRED => Some(Ending::Expired),
            SlotState::COMPLETED => Some(Ending::Completed),
            _ => Some(Ending::Revoked),
        });
        // The same for a suspension: nobody has been told of a resumption that only one of them knows.
        let held = run.phase == Phase::Suspended || slot_state == SlotState::SUSPENDED;
        let told = run.phase.ending().is_some();
        let agreed = run.phase.slot_state() == slot_state;
        run.phase = match ending {
            Some(ending) => Phase::Stopping(ending),
            None if held => Phase::Suspended,
            None => Phase::Active,
        };
        if let Some(ending) = ending {
            run.end.get_or_insert_with(|| End::of(ending, now.wall_ms));
        }
        let news = run.end.as_ref().filter(|_| !told).map(|end| What::Stopped(stopped(end)));
        let how = run.on_end;
        let (frozen, thaws) = (run.frozen, !run.frozen && !run.groups.is_empty());
        if self.registry.insert(run).is_err() {
            // Two files that claim one slot in one generation: the first one stands.
            return Vec::new();
        }
        let attach = Effect::Attach(Demand::of(&self.registry));
        let mut effects = match ending {
            None if agreed => vec![attach, Effect::Rebind(id)],
            None => vec![
                Effect::Deny { slot, state: SlotState::SUSPENDED },
                attach,
                Effect::Rebind(id),
                Effect::Save(id),
            ],
            Some(ending) => vec![
                Effect::Deny { slot, state: ending.slot_state() },
                attach,
                Effect::Stop { id, how },
                Effect::Save(id),
            ],
        };
        effects.extend(news.map(|what| Effect::Publish { id: Some(id), what }));
        // The daemon may have died before it had done it.
        if ending.is_none() {
            effects.extend(frozen.then_some(Effect::Freeze(id)));
            effects.extend(thaws.then_some(Effect::Thaw(id)));
        }
        effects
    }

    pub(super) fn lost(&mut self, mut run: Run, now: Now) -> Vec<Effect> {
        let id = run.id;
        let ending = run.phase.ending().unwrap_or(Ending::LostAtBoot);
        run.phase = Phase::Ended(ending);
        let what = What::Ended(ended(run.end.get_or_insert_with(|| End::of(ending, now.wall_ms))));
        let mut effects = vec![Effect::Save(id), Effect::Publish { id: Some(id), what }];
        effects.extend(self.remember(run));
        effects
    }

    pub(super) fn remember(&mut self, run: Run) -> Vec<Effect> {
        let forgotten = self.registry.insert(run).unwrap_or_default();
        forget(forgotten).into_iter().collect()
    }
}
