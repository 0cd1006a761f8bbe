//! The counts of live tasks, shared with the kernel programs.
//!
//! A write to the map would overwrite what they count meanwhile. The map can be mapped into memory instead
//! (`BPF_F_MMAPABLE`), where the daemon takes one away as they do.

use std::{
    fs, io,
    mem::offset_of,
    num::NonZeroUsize,
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use agentid_common::{instance::Activity, map::SLOTS};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use super::sys::open_pin;

/// include/linux/sched.h: `PF_EXITING`, set before the kernel counts a task out.
const EXITING: u64 = 0x4;
/// Where `/proc/PID/stat` has a task's flags, counted behind its name.
const FLAGS: usize = 6;

/// The values of `ACTIVITY`, for as long as the daemon lives.
pub struct LiveCounts {
    first: NonNull<Activity>,
}

// SAFETY: the memory belongs to no thread, and is only touched by atomic operations.
unsafe impl Send for LiveCounts {}

impl LiveCounts {
    pub fn open(pin: &Path) -> io::Result<Self> {
        let map = open_pin(pin)?;
        let slots = usize::try_from(SLOTS).map_err(io::Error::other)?;
        let length = NonZeroUsize::new(slots * size_of::<Activity>());
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at a place that the kernel chooses. The values lie one after another in it
        // (kernel/bpf/arraymap.c: `array_map_mmap`), and no other object of this process is there.
        let first = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, &map, 0)? };
        Ok(Self { first: first.cast() })
    }

    /// Counts one task of a slot's run out.
    pub fn leave(&self, slot: u32) {
        let Ok(slot) = usize::try_from(slot.min(SLOTS - 1)) else { return };
        // SAFETY: the slot lies within the mapping, and the count is eight bytes at a multiple of eight.
        let live = unsafe {
            let activity = self.first.add(slot);
            activity.byte_add(offset_of!(Activity, live)).cast::<AtomicU64>().as_ref()
        };
        live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a process's first thread has begun to exit, or is gone.
pub fn is_exiting(tgid: u32) -> io::Result<bool> {
    let text = match fs::read_to_string(format!("/proc/{tgid}/stat")) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(true),
        Err(error) => return Err(error),
    };
    // The name may hold anything, parentheses and spaces included.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let flags = behind.split_whitespace().nth(FLAGS).and_then(|flags| flags.parse::<u64>().ok());
    flags.map(|flags| flags & EXITING != 0).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_that_runs_is_not_exiting_and_one_that_is_gone_is() {
        assert!(!super::is_exiting(std::process::id()).unwrap());
        assert!(super::is_exiting(u32::MAX).unwrap());
    }
}
