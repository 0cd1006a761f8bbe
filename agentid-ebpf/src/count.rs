//! Counters that a full ring cannot hide.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use agentid_common::{
    counter,
    instance::Activity,
    verdict::{Hook, Settled, Verdict},
};

use crate::maps::{ACTIVITY, COUNTERS};

/// Adds, and gives the value from before.
///
/// Not relaxed: for that LLVM 22 emits the instruction that gives nothing back, and takes the addend for the result.
#[inline(always)]
pub fn add(value: *mut u64, amount: u64) -> u64 {
    // SAFETY: the verifier has checked that `value` is a counter in a map.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(value, amount) }
}

/// Counts a verdict for the host.
#[inline(always)]
pub fn verdict(hook: Hook, settled: &Settled) {
    bump(counter::verdict(hook, settled.verdict));
    match settled.verdict {
        Verdict::Allow => {}
        Verdict::Audit | Verdict::Deny => bump(counter::denial(hook, settled.reason)),
        Verdict::Fault => bump(counter::fault(hook, settled.fault)),
    }
}

/// Counts a verdict for its run.
#[inline(always)]
pub fn activity(slot: u32, verdict: Verdict) {
    if let Some(activity) = of(slot) {
        // SAFETY: an array's value never moves or goes away.
        let value = unsafe {
            match verdict {
                Verdict::Allow => &raw mut (*activity).allowed,
                Verdict::Audit | Verdict::Deny => &raw mut (*activity).denied,
                Verdict::Fault => &raw mut (*activity).faults,
            }
        };
        add(value, 1);
    }
}

/// Counts a tripwire that a run has met, which the daemon ends it for, whether the record reaches it or not.
#[inline(always)]
pub fn trip(slot: u32) {
    if let Some(activity) = of(slot) {
        // SAFETY: an array's value never moves or goes away.
        add(unsafe { &raw mut (*activity).tripped }, 1);
    }
}

/// What a slot's run has done.
#[inline(always)]
pub fn of(slot: u32) -> Option<*mut Activity> {
    ACTIVITY.get_ptr_mut(slot)
}

/// Counts one more.
#[inline(always)]
pub fn bump(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // Atomic although the counter is the CPU's own: a program can be preempted between load and store.
        add(value, 1);
    }
}
