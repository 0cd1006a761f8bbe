//! Indices into the per-CPU array of counters. One list for both sides.

use crate::verdict::{Fault, Hook, Reason, Verdict};

const HOOKS: u32 = Hook::END;
const VERDICTS: u32 = Verdict::END;
const REASONS: u32 = Reason::END;
const FAULTS: u32 = Fault::END;

const DENIALS: u32 = HOOKS * VERDICTS;
const FAULTED: u32 = DENIALS + HOOKS * REASONS;
const LOST: u32 = FAULTED + HOOKS * FAULTS;
const GUARDED: u32 = LOST + 1;

/// How many counters there are.
pub const COUNT: u32 = GUARDED + HOOKS;

/// Verdicts of a hook on tagged tasks.
#[inline(always)]
pub const fn verdict(hook: Hook, verdict: Verdict) -> u32 {
    hook as u32 * VERDICTS + verdict as u32
}

/// Denials of a hook by reason, audited ones included.
#[inline(always)]
pub const fn denial(hook: Hook, reason: Reason) -> u32 {
    DENIALS + hook as u32 * REASONS + reason as u32
}

/// Faults of a hook by kind.
#[inline(always)]
pub const fn fault(hook: Hook, fault: Fault) -> u32 {
    FAULTED + hook as u32 * FAULTS + fault as u32
}

/// Records that found the ring full.
pub const fn lost() -> u32 {
    LOST
}

/// Operations of untagged tasks that were refused to protect agentid's own objects.
#[inline(always)]
pub const fn guarded(hook: Hook) -> u32 {
    GUARDED + hook as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn gives_each_counter_its_own_index() {
        let mut seen = HashSet::from([lost()]);
        for &hook in Hook::ALL {
            assert!(seen.insert(guarded(hook)));
            assert!(Verdict::ALL.iter().all(|&v| seen.insert(verdict(hook, v))));
            assert!(Reason::ALL.iter().all(|&r| seen.insert(denial(hook, r))));
            assert!(Fault::ALL.iter().all(|&f| seen.insert(fault(hook, f))));
        }
        // Numbers that no member has leave gaps.
        assert!(seen.into_iter().all(|index| index < COUNT));
    }
}
