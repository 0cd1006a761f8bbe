//! The clock that counts instructions.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const TURNS: u64 = 1_000_000;
const INSTRUCTIONS_PER_TURN: u64 = 2;
/// Timer ticks fall into every try; the best of some has few.
const TRIES: usize = 5;

/// Fails unless a nanosecond is an instruction, which is what `-icount shift=0` means.
pub fn counts_instructions() -> Result<()> {
    let fastest = (0..TRIES).map(|_| count_down()).min().unwrap_or_default();
    let expected = u128::from(TURNS * INSTRUCTIONS_PER_TURN);
    let measured = fastest.as_nanos();
    if measured < expected || measured > expected + expected / 50 {
        bail!(
            "the clock does not count instructions: {expected} of them took {measured} ns; \
             use `cargo xtask bench`"
        );
    }
    Ok(())
}

fn count_down() -> Duration {
    let start = Instant::now();
    // SAFETY: two instructions on a register of their own.
    unsafe {
        std::arch::asm!(
            "2:",
            "dec {left}",
            "jnz 2b",
            left = inout(reg) TURNS => _,
            options(nomem, nostack)
        );
    }
    start.elapsed()
}
