//! What becomes a run, and what it may be like.

use std::{thread, time::Duration};

use agentid_common::record::ShareLine;

use super::launch::chain;
use crate::{
    control::{
        brings::{self, Brought},
        caller::{self, Condition},
    },
    kernel::{self, Gathered, Kernel},
    supervisor::{command::Caller, refusal::Refusal},
};

/// What becomes a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum First<'a> {
    /// The asking process.
    Caller(&'a Caller),
    /// Processes that run already, and stand still.
    Gathered(&'a Gathered),
}

/// So often the kernel is asked who shares what it has. Whoever reads a process's files of /proc, as this daemon does and
/// monitors do, holds its memory for the moment; if that takes longer, all tasks are looked at.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(1);

impl First<'_> {
    pub(super) fn tgid(&self) -> u32 {
        match self {
            Self::Caller(caller) => caller.tgid,
            Self::Gathered(gathered) => gathered.first,
        }
    }

    /// A process that asks must be one thread that nobody steers, share nothing, and bring nothing along.
    pub(super) fn inspect(&self, kernel: &Kernel) -> Result<(), Refusal> {
        match self {
            Self::Caller(caller) => {
                alone(caller)?;
                // First that nobody else can change what is looked at then.
                by_itself(caller, kernel)?;
                bare(caller)
            }
            // Looked at when they were gathered; they can do nothing since.
            Self::Gathered(_) => Ok(()),
        }
    }
}

fn alone(caller: &Caller) -> Result<(), Refusal> {
    let Condition { threads, tracer, may_gain } = caller::condition(caller).ok_or(Refusal::Gone)?;
    match (threads, tracer) {
        // Root has what a file could give.
        (1, 0) if may_gain && caller.uid != 0 => Err(Refusal::MayGain),
        (1, 0) => Ok(()),
        (1, tracer) => Err(Refusal::Traced(tracer)),
        (threads, _) => Err(Refusal::Threads(threads)),
    }
}

fn bare(caller: &Caller) -> Result<(), Refusal> {
    let brought = brings::brought(caller);
    // Only a process that still lives has kept its number, and only then was it the one that was looked at.
    if !kernel::lives(caller.process()) {
        return Err(Refusal::Gone);
    }
    match brought {
        Ok(None) => Ok(()),
        Ok(Some(Brought::Ring(at))) => Err(Refusal::Ring(at)),
        Ok(Some(Brought::Listener(number))) => Err(Refusal::Listens(number)),
        Ok(Some(Brought::Folder(number))) => Err(Refusal::Folder(number)),
        Ok(Some(Brought::Open { number, what })) => Err(Refusal::Open { number, what }),
        Ok(Some(Brought::Mapping(what))) => Err(Refusal::Mapped(what)),
        Ok(Some(Brought::Changing)) => Err(Refusal::Changing),
        Err(error) => Err(Refusal::Unseen(error.to_string())),
    }
}

/// Of what it shares no file of /proc tells: another process may have its memory, its descriptors or its working folder.
fn by_itself(caller: &Caller, kernel: &Kernel) -> Result<(), Refusal> {
    let unseen = |failure| Refusal::Unseen(chain(&failure));
    for look in 0..LOOKS {
        if look > 0 {
            thread::sleep(BETWEEN);
        }
        let line = kernel.shares(caller.tgid);
        if !kernel::lives(caller.process()) {
            return Err(Refusal::Gone);
        }
        match line.map_err(unseen)? {
            Some(ShareLine { ring: 1.., .. }) => {
                return Err(Refusal::Ring("that it has used".to_owned()));
            }
            Some(ShareLine { memory: 1, descriptors: 1, folder: 1, .. }) => return Ok(()),
            Some(ShareLine { memory: 1.., descriptors: 1.., folder: 1.., .. }) => {}
            // It is on its way out.
            Some(_) | None => return Err(Refusal::Gone),
        }
    }
    // Held by somebody who is no task with it, such as a slow reader of /proc, it is nobody else's.
    match kernel.sharing(|tgid| tgid == caller.tgid).map_err(unseen)? {
        Some(sharing) => Err(Refusal::Shares(sharing.what)),
        None if kernel::lives(caller.process()) => Ok(()),
        None => Err(Refusal::Gone),
    }
}
