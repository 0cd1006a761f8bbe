//! Records from the ring.

use agentid_common::verdict::{Reason, Verdict};
use tracing::warn;
use uuid::Uuid;

use super::Supervisor;
use crate::{
    event::{
        decode::{Body, DecodeError, Record, decode},
        enrich::{Context, enrich},
        event::What,
    },
    kernel::Ring,
    supervisor::tripwire,
};

/// So many at once: a run that is denied as fast as it can must not keep the loop from anything else.
const MOST: usize = 512;

/// What is in the ring now, the oldest first, and whether there may be more.
pub(super) fn read(ring: &mut Ring) -> (Vec<Result<Record, DecodeError>>, bool) {
    let mut records = Vec::new();
    let more = ring.read(MOST, &mut |bytes| records.push(decode(bytes)));
    (records, more)
}

impl Supervisor {
    /// Publishes records, and acts upon those that say that a run is empty.
    pub(super) fn take(&mut self, records: Vec<Result<Record, DecodeError>>) {
        let now = self.now();
        let boot_ms = now.wall_ms.saturating_sub(now.boot_ns / 1_000_000);
        for record in records {
            match record {
                Ok(record) if record.body == Body::Empty => {
                    self.empty(record.slot, record.generation);
                }
                Ok(record) => self.publish_record(&record, boot_ms),
                Err(error) => {
                    self.metrics.undecoded.inc();
                    warn!(%error, "a record cannot be read");
                }
            }
        }
    }

    fn publish_record(&mut self, record: &Record, boot_ms: u64) {
        // By its ID: the run may have lost its slot since.
        let run = self.state.registry.get(Uuid::from_bytes(record.invocation.0));
        let steps = usize::from(record.above).checked_sub(1);
        let by = run.zip(steps).and_then(|(run, steps)| run.above.get(steps)).copied();
        let says = by.map_or(run, |id| self.state.registry.get(id));
        let because =
            says.and_then(|run| self.rules.because(&run.policy, record.hook, record.rule));
        let (id, uid) = (run.map(|run| run.id), run.map(|run| run.uid));
        let sights = &self.sights;
        let Some(event) = enrich(record, &Context { run, by, because, sights, boot_ms }) else {
            return;
        };
        let met = match &event.what {
            What::Access(access)
                if record.reason == Reason::Tripwire && record.verdict == Verdict::Deny =>
            {
                id.map(|id| (id, tripwire::access(access)))
            }
            _ => None,
        };
        self.export(event, uid);
        if let Some((id, reason)) = met {
            self.trip(id, reason);
        }
    }
}
