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

pub static PENDING: &[Pending] = &[];

/// What keeps a test from running on a kernel.
pub fn reason(kernel: &str, test: &str) -> Option<&'static str> {
    let waits = |pending: &&Pending| pending.kernel == kernel && test.starts_with(pending.tests);
    PENDING.iter().find(waits).map(|pending| pending.why)
}
