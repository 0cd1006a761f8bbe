//! Events with their numbers, to those who ask for them.

use tracing::error;

use super::{Supervisor, clock, launch::chain};
use crate::{
    control::{
        api::{Code, ErrorReply},
        caller::Standing,
    },
    event::{event::Event, export::Filter},
    supervisor::command::{Answer, EventsQuery, Feed, Listed},
};

impl Supervisor {
    /// Gives an event its number, and hands it to all who may see it.
    pub(super) fn export(&mut self, event: Event, uid: Option<u32>) {
        let seq = self.number();
        let dropped = self.hub.publish(Event { seq, ..event }, uid);
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
        let filter = Filter { run, uid: standing.limit() };
        let last = self.number();
        let (missed, past) = match query.after {
            Some(after) => {
                let missed = self.hub.missed(filter, after, last, clock::wall_ms());
                let from = missed.as_ref().map_or(after, |missed| missed.seq);
                (missed, self.hub.after(filter, from))
            }
            None => {
                let mut past = self.hub.history(filter);
                let wanted = query.last.unwrap_or(if query.follow { 0 } else { usize::MAX });
                past.drain(..past.len().saturating_sub(wanted));
                (None, past)
            }
        };
        let live = if query.follow {
            let live = self.hub.follow(filter);
            Some(live.ok_or_else(|| ErrorReply::new(Code::Full, "too many follow the events"))?)
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
