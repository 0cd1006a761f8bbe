//! Events with their numbers, to those who ask for them.

use tracing::error;

use super::{Supervisor, launch::chain};
use crate::{
    control::{
        api::{Code, ErrorReply},
        caller::Standing,
    },
    event::{
        event::Event,
        export::{Filter, Known},
    },
    instance::Run,
    supervisor::{
        command::{Answer, EventsQuery, Feed, Listed},
        select::Meant,
        step::Now,
    },
};

impl Supervisor {
    /// Gives an event its number, and hands it to all who may see it.
    pub(super) fn export(&mut self, event: Event, uid: Option<u32>) {
        let seq = self.number();
        let now = Now { boot_ns: self.kernel.boot_ns(), wall_ms: event.time_ms };
        let known = Known { registry: &self.state.registry, now };
        let dropped = self.hub.publish(Event { seq, ..event }, uid, known);
        self.metrics.dropped.with_label_values(&["follower"]).inc_by(dropped);
    }

    /// A number that was never given, and that a later daemon does not give again.
    ///
    /// Where the disk refuses, the next daemon begins at its clock, which is as good unless that is set back. An event that
    /// nobody is told would be worse.
    fn number(&mut self) -> u64 {
        let number = self.numbers.take();
        if let Err(failure) = self.store.reserve_numbers(number) {
            error!(message = %chain(&failure), "how far events are numbered is not on disk");
        }
        number
    }

    /// The runs that events are filtered by.
    pub(super) fn known(&self) -> Known<'_> {
        Known { registry: &self.state.registry, now: self.now() }
    }

    /// An answer with the number up to which it holds: what is told later has a larger one.
    pub(super) fn listed<T>(&mut self, value: T) -> Listed<T> {
        Listed { seq: self.number(), value }
    }

    /// One turn of the loop: nothing is published between what is taken from the history and the place in the queue.
    pub(super) fn events(&mut self, standing: &Standing, query: &EventsQuery) -> Answer<Feed> {
        let run = match &query.id {
            Some(id) => Some(self.find(standing, id)?.id),
            None => None,
        };
        let sees = |run: &Run| standing.sees(run.uid);
        let meant = query.select.as_ref().filter(|selector| !selector.is_empty());
        let meant = meant.map(|it| Meant::find(&self.state.registry, it, sees)).transpose()?;
        let filter = Filter { run, meant, uid: standing.limit() };
        let last = self.number();
        let (missed, past) = match query.after {
            Some(after) => {
                let missed = self.hub.missed(&filter, self.known(), after, last);
                let from = missed.as_ref().map_or(after, |missed| missed.seq);
                (missed, self.hub.after(&filter, self.known(), from))
            }
            None => {
                let mut past = self.hub.history(&filter, self.known());
                let wanted = query.last.unwrap_or(if query.follow { 0 } else { usize::MAX });
                past.drain(..past.len().saturating_sub(wanted));
                (None, past)
            }
        };
        let live = if query.follow {
            let live = self.hub.follow(filter);
            let remedy =
                "end some that follow them, such as agentid events --follow, and try again";
            let full = || ErrorReply::new(Code::Full, "too many follow the events", remedy);
            Some(live.ok_or_else(full)?)
        } else {
            None
        };
        // Where the stream begins: whoever loses it before the first event comes again with this.
        let first = past.first().map(|event| event.seq.saturating_sub(1));
        let start = query.after.filter(|after| *after <= last).or(first).unwrap_or(last);
        let past = missed.map(Into::into).into_iter().chain(past).collect();
        Ok(Feed { start, past, live })
    }
}
