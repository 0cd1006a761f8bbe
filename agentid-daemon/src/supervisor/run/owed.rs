//! What the disk or the kernel did not take. It is asked for again at every tick, until it has come about.

use std::collections::BTreeSet;

use tracing::{error, info};
use uuid::Uuid;

use super::{Supervisor, launch::chain};
use crate::{image::MapOp, instance::Place, supervisor::step::Effect};

/// Runs of which something is behind.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Their files are older than they are.
    files: BTreeSet<Uuid>,
    /// Their slots do not say whether they may act, or until when.
    slots: BTreeSet<Uuid>,
}

impl Owed {
    /// How many runs have a file that is behind.
    pub(super) fn files(&self) -> u64 {
        self.files.len() as u64
    }

    pub(super) fn owe_files(&mut self, ids: BTreeSet<Uuid>) {
        self.files.extend(ids);
    }
}

impl Supervisor {
    /// An effect has failed.
    pub(super) fn owe(&mut self, effect: &Effect) {
        let id = match effect {
            Effect::Save(id) => {
                self.owed.files.insert(*id);
                return;
            }
            Effect::Deny { slot, .. } | Effect::Permit { slot } | Effect::Prolong { slot, .. } => {
                self.state.registry.in_slot(*slot).map(|run| run.id)
            }
            _ => None,
        };
        self.owed.slots.extend(id);
    }

    /// Tries all of it again. What is written is what is so by now.
    pub(super) fn settle_debts(&mut self) {
        let files: Vec<Uuid> = std::mem::take(&mut self.owed.files).into_iter().collect();
        if !files.is_empty() {
            self.save(&files);
            if self.owed.files.is_empty() {
                info!(runs = files.len(), "the files that were behind are written");
            }
        }
        for id in std::mem::take(&mut self.owed.slots) {
            let registry = &self.state.registry;
            let Some(run) = registry.get(id).filter(|run| run.phase.holds_slot()) else { continue };
            let Place { slot, deadline, .. } = run.place;
            let ops =
                [MapOp::SetDeadline(slot, deadline), MapOp::SetState(slot, run.phase.slot_state())];
            if let Err(failure) = self.apply(&ops) {
                error!(%id, message = %chain(&failure), "the kernel does still not take it");
                self.owed.slots.insert(id);
            }
        }
    }
}
