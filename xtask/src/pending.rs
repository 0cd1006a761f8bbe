//! Tests that are not yet seen to hold on a kernel: said aloud and counted as skipped, never left out in silence.
//!
//! A line goes when the test has been seen to pass there; nobody adds one to make a failure disappear.

/// One module, or one test of it, that waits on one kernel.
pub struct Pending {
    pub kernel: &'static str,
    /// The start of the test's name.
    pub tests: &'static str,
    pub why: &'static str,
}

/// Written, and not yet seen to the end on this kernel.
const UNSEEN: &str = "not yet seen to hold on this kernel";

pub static PENDING: &[Pending] = &[
    Pending { kernel: "7.3", tests: "bad_input::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "boot_", why: UNSEEN },
    Pending { kernel: "7.3", tests: "metrics::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "off::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "posture::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "preemption::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "rename_race::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "stage::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "storm::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "upgrade::", why: UNSEEN },
    Pending { kernel: "7.3", tests: "verified::", why: UNSEEN },
    Pending { kernel: "6.12", tests: "boot_", why: UNSEEN },
    Pending { kernel: "6.12", tests: "storm::", why: UNSEEN },
    Pending { kernel: "6.1", tests: "boot_", why: UNSEEN },
    Pending { kernel: "6.1", tests: "storm::", why: UNSEEN },
    Pending { kernel: "6.1", tests: "upgrade::", why: UNSEEN },
];

/// What keeps a test from running on a kernel.
pub fn reason(kernel: &str, test: &str) -> Option<&'static str> {
    let waits = |pending: &&Pending| pending.kernel == kernel && test.starts_with(pending.tests);
    PENDING.iter().find(waits).map(|pending| pending.why)
}
