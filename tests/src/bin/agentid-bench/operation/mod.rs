//! What is measured. A further operation is a further row.

mod file;
mod lookup;
mod process;
mod tcp;
mod udp;

use anyhow::Result;
use nix::errno::Errno;

use crate::names;
use crate::terrain::{GRANTED_FILE, GRANTED_PORT, OTHER_FILE, OTHER_PORT};
use crate::worker::WARMING;

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
    pub hosts: Hosts,
    /// So many at a time. Below the 4 ms between two timer ticks where it can be, so that some batches have none.
    pub batch: u32,
    /// In each process.
    pub batches: u32,
    /// What is needed before, and not measured; of the processes that measure one after the other, this is the how many
    /// from 0.
    pub prepare: fn(u32) -> Result<Box<dyn Act>>,
}

/// What an operation has to do with names of hosts, for which programs are attached while a run may know one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    Nothing,
    /// It is measured as well where a run may know a name.
    Beside,
    /// It asks for one, which a run must be granted.
    Asked,
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

pub const TABLE: [Operation; 15] = [
    Operation {
        name: "open+close, depth 8",
        denied: None,
        connects: false,
        by_rules: true,
        beside: true,
        hosts: Hosts::Nothing,
        batch: 100,
        batches: 20,
        prepare: |_| file::open(GRANTED_FILE),
    },
    Operation {
        name: "open+close, depth 8, first in its folder",
        denied: None,
        connects: false,
        by_rules: true,
        beside: false,
        hosts: Hosts::Nothing,
        batch: FIRST_BATCH,
        batches: FIRST_BATCHES,
        prepare: file::open_first,
    },
    Operation {
        name: "open, depth 8, denied",
        denied: Some(Errno::EACCES),
        connects: false,
        by_rules: true,
        beside: false,
        hosts: Hosts::Nothing,
        batch: 50,
        batches: 20,
        prepare: |_| file::open(OTHER_FILE),
    },
    Operation {
        name: "stat, depth 8",
        denied: None,
        connects: false,
        by_rules: false,
        beside: false,
        hosts: Hosts::Nothing,
        batch: 200,
        batches: 20,
        prepare: |_| file::stat(GRANTED_FILE),
    },
    Operation {
        name: "read of 1 byte, file",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        hosts: Hosts::Nothing,
        batch: 200,
        batches: 20,
        prepare: |_| file::read(GRANTED_FILE),
    },
    Operation {
        name: "write of 1 byte, pipe",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        hosts: Hosts::Nothing,
        batch: 200,
        batches: 20,
        prepare: |_| file::write(),
    },
    Operation {
        name: "two changes of process",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        hosts: Hosts::Nothing,
        batch: 50,
        batches: 20,
        prepare: |_| process::change(),
    },
    Operation {
        name: "fork+exec+wait",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        hosts: Hosts::Nothing,
        batch: 10,
        batches: 25,
        prepare: |_| process::execute(),
    },
    Operation {
        name: "TCP connect+close",
        denied: None,
        connects: true,
        by_rules: true,
        beside: false,
        hosts: Hosts::Beside,
        batch: 20,
        batches: 40,
        prepare: |_| tcp::connect(GRANTED_PORT),
    },
    Operation {
        name: "TCP connect, denied",
        denied: Some(Errno::EACCES),
        connects: true,
        by_rules: true,
        beside: false,
        hosts: Hosts::Nothing,
        batch: 20,
        batches: 40,
        prepare: |_| tcp::connect(OTHER_PORT),
    },
    Operation {
        name: "write of 1 byte, TCP",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        hosts: Hosts::Beside,
        batch: 30,
        batches: 40,
        prepare: |_| tcp::write(),
    },
    Operation {
        name: "64 KiB sent and received, TCP",
        denied: None,
        connects: false,
        by_rules: false,
        beside: true,
        hosts: Hosts::Nothing,
        batch: 20,
        batches: 40,
        prepare: |_| tcp::transfer(),
    },
    Operation {
        name: "sendto of 1 byte, UDP",
        denied: None,
        connects: false,
        by_rules: false,
        beside: false,
        hosts: Hosts::Beside,
        batch: 30,
        batches: 40,
        prepare: |_| udp::send(),
    },
    Operation { name: "lookup of a name, UDP", prepare: |_| lookup::ask(names::FRESH), ..LOOKUP },
    Operation {
        name: "lookup of a name, UDP, asked again",
        prepare: |_| lookup::ask(names::KEPT),
        ..LOOKUP
    },
];

/// What the lookups have in common.
const LOOKUP: Operation = Operation {
    name: "lookup",
    denied: None,
    connects: false,
    by_rules: false,
    beside: false,
    hosts: Hosts::Asked,
    batch: 4,
    batches: 12,
    prepare: |_| lookup::ask(names::FRESH),
};

/// Each open is in a folder of its own, so that these times the processes are as many folders.
const FIRST_BATCH: u32 = 20;
const FIRST_BATCHES: u32 = 20;
/// Folders that one process opens for the first time.
pub const FIRSTS: u32 = FIRST_BATCH * (FIRST_BATCHES + WARMING);
