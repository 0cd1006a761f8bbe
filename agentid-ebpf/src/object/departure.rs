//! What the rules say of a place that something leaves, handed from the first program of a hook to the second.
//!
//! Both run for the same task, one right after the other, in room that is the task's own.

use agentid_common::{
    decide::file::{Departure, Left},
    instance::MAX_ANCESTRY,
    verdict::Fault,
};

use crate::{
    kfield::Dentry,
    maps::{WORK, Work},
    subject,
};

pub struct Leaving {
    work: *mut Work,
}

impl Leaving {
    /// In the first program.
    #[inline(always)]
    pub fn begin(dentry: Dentry) -> Result<Self, Fault> {
        let leaving = Self::room()?;
        // SAFETY: `work` is this task's own.
        unsafe { (*leaving.work).leaving = dentry.0 as u64 };
        Ok(leaving)
    }

    /// In the second, which is the only one to take what the first has left.
    #[inline(always)]
    pub fn end(dentry: Dentry) -> Result<Self, Fault> {
        let leaving = Self::room()?;
        // SAFETY: `work` is this task's own.
        let left = unsafe { core::mem::replace(&mut (*leaving.work).leaving, 0) };
        if left == dentry.0 as u64 { Ok(leaving) } else { Err(Fault::Departure) }
    }

    #[inline(always)]
    fn room() -> Result<Self, Fault> {
        let work = WORK.get_or_create(subject::current_task()).ok_or(Fault::WorkStorage)?;
        Ok(Self { work })
    }
}

impl Departure for Leaving {
    #[inline(always)]
    fn note(&self, depth: u32, left: Left) {
        // SAFETY: `work` is this task's own, and nothing else of it is in use that is written here.
        unsafe { (*self.work).left[at(depth)] = left };
    }

    #[inline(always)]
    fn left(&self, depth: u32) -> Left {
        // SAFETY: as above.
        unsafe { (*self.work).left[at(depth)] }
    }
}

#[inline(always)]
fn at(depth: u32) -> usize {
    depth as usize & (MAX_ANCESTRY as usize - 1)
}
