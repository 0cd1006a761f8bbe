//! What is measured. A further operation is a further row.

mod file;
mod process;
mod tcp;

use anyhow::Result;
use nix::errno::Errno;

use crate::terrain::{GRANTED_FILE, GRANTED_PORT, OTHER_FILE, OTHER_PORT};

/// One row of the table.
pub struct Operation {
    pub name: &'static str,
    /// What a held process gets; a free one succeeds.
    pub denied: Option<Errno>,
    /// Whether it is about a peer, which old Landlocks have no rules for.
    pub connects: bool,
    /// Whether it is measured under each of the policies, too.
    pub by_rules: bool,
    /// Whether it is measured beside a run, too: what is attached on demand is on its way.
    pub beside: bool,
    /// So many at a time. Below the 4 ms between two timer ticks where it can be, so that some batches have none.
    pub batch: u32,
    /// In each process.
    pub batches: u32,
    /// What is needed before, and not measured.
    pub prepare: fn() -> Result<Box<dyn Act>>,
}

/// Something that can be done again and again.
pub trait Act {
    /// Once, measured.
    fn once(&mut self) -> Result<(), Errno>;

    /// After a batch, not measured: as if nothing had been done. Whether all that the batch caused was in the measure.
    fn clear(&mut self) -> Result<bool> {
        Ok(true)
    }
}

pub const TABLE: [Operation; 10] = [
    Operation {
        name: "open+close, depth 8",
        denied: None,
        connects: false,
        by_rules: true,
        beside: true,
        batch: 100,
        batches: 20,
        prepare: || file::open(GRANTED_FILE),
    },
    Operation {
        name: "open, depth 8, denied",
        denied: Some(Errno::EACCES),
        connects: false,
        by_rules: true,
        beside: false,
        batch: 50,
        batches: 20,
        prepare: || file::open(OTHER_FILE),
    },
    Operation {
        name: "stat, depth 8",
        denied: None,
        connects: false,
        by_rules: false,
        beside: false,
        batch: 200,
        batches: 20,
        prepare: || file::stat(GRANTED_FILE),
    },
    Operation {
        name: "read of 1 byte, file",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        batch: 200,
        batches: 20,
        prepare: || file::read(GRANTED_FILE),
    },
    Operation {
        name: "write of 1 byte, pipe",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        batch: 200,
        batches: 20,
        prepare: file::write,
    },
    Operation {
        name: "two changes of process",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        batch: 50,
        batches: 20,
        prepare: process::change,
    },
    Operation {
        name: "fork+exec+wait",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        batch: 10,
        batches: 25,
        prepare: process::execute,
    },
    Operation {
        name: "TCP connect+close",
        denied: None,
        connects: true,
        by_rules: true,
        beside: false,
        batch: 20,
        batches: 40,
        prepare: || tcp::connect(GRANTED_PORT),
    },
    Operation {
        name: "TCP connect, denied",
        denied: Some(Errno::EACCES),
        connects: true,
        by_rules: true,
        beside: false,
        batch: 20,
        batches: 40,
        prepare: || tcp::connect(OTHER_PORT),
    },
    Operation {
        name: "write of 1 byte, TCP",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        batch: 30,
        batches: 40,
        prepare: tcp::write,
    },
];
