//! The clock that counts instructions.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const TURNS: u64 = 1_000_000;
const INSTRUCTIONS_PER_TURN: u64 = 2;
/// What the kernel has put off while booting runs beside us for some seconds.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// Waits until a nanosecond is one instruction of ours, which is what `-icount shift=0` means on an idle machine.
pub fn wait_for_instructions() -> Result<()> {
    let expected = u128::from(TURNS * INSTRUCTIONS_PER_TURN);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let measured = count_down().as_nanos();
        if measured >= expected && measured <= expected + expected / 50 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the clock does not count instructions: {expected} of them took {measured} ns; \
                 use `cargo xtask bench`"
            );
        }
        std::thread::sleep(LOOK);
    }
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
