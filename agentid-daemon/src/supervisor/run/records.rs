//! Records from the ring.

use tracing::warn;
use uuid::Uuid;

use super::Supervisor;
use crate::{
    event::{
        decode::{Body, DecodeError, Record, decode},
        enrich::{Context, enrich},
    },
    kernel::Ring,
};

/// Everything that is in the ring now.
pub(super) fn read(ring: &mut Ring) -> Vec<Result<Record, DecodeError>> {
    let mut records = Vec::new();
    ring.read(&mut |bytes| records.push(decode(bytes)));
    records
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
        let because = run
            .zip(u16::try_from(record.rule).ok())
            .and_then(|(run, rule)| self.rules.because(&run.policy, record.hook, rule));
        let uid = run.map(|run| run.uid);
        if let Some(event) =
            enrich(record, &Context { run, because, sights: &self.sights, boot_ms })
        {
            self.export(event, uid);
        }
    }
}
