//! Waiting for a fact.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Long enough for anything that is to happen at once, on a slow emulator.
pub const SOON: Duration = Duration::from_secs(120);

/// Between two looks; each is twice as long as the one before. Most looks start a program, which keeps from the
/// processors what is waited for.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(200);
/// Between two looks at a clock.
const MOMENT: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to be seen.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut pause = SHORTEST;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        sleep(pause);
        pause = LONGEST.min(pause * 2);
    }
}

/// One turn of a loop that does something until a time has come, and need not keep a processor from everybody else.
pub fn moment() {
    sleep(MOMENT);
}
