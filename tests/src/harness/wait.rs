//! Waiting for a fact.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Long enough for anything that is to happen at once, on a slow emulator.
pub const SOON: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to be seen.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        sleep(PAUSE);
    }
}
