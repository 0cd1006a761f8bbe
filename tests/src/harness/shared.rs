//! One daemon for all tests that leave it as it was: loading the programs takes longer than most of them.

use std::{
    ops::Deref,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread,
};

use anyhow::Result;

use super::{Daemon, Scene};

static SHARED: Mutex<Option<Daemon>> = Mutex::new(None);
static AT_EXIT: Once = Once::new();

/// The shared daemon, with the scene of [`Scene::new`]. When it is dropped no run is left.
pub struct Shared(MutexGuard<'static, Option<Daemon>>);

impl Daemon {
    /// The daemon that tests share; it is started for the first of them.
    pub fn shared() -> Result<Shared> {
        let mut shared = lock();
        if shared.is_none() {
            *shared = Some(Self::boot(Scene::new()?)?);
        }
        Ok(Shared(shared))
    }
}

impl Deref for Shared {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        match self.0.as_ref() {
            Some(daemon) => daemon,
            None => unreachable!("the daemon goes with the guard"),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What a failed test has left behind is nobody's business but its own.
        let keep = !thread::panicking() && self.0.as_ref().is_some_and(|it| it.end_runs().is_ok());
        if !keep {
            drop(self.0.take());
        }
    }
}

/// Ends the shared daemon, if it runs, so that a test can have the kernel to itself.
pub(super) fn end() {
    drop(lock().take());
}

/// Has what is left in the kernel unloaded when the suite is over.
pub(super) fn unload_at_exit() {
    // SAFETY: the function lives as long as the program, and does not unwind.
    AT_EXIT.call_once(|| unsafe {
        libc::atexit(unload);
    });
}

extern "C" fn unload() {
    if let Err(error) = Daemon::unload_left() {
        eprintln!("failed to unload what the suite has left: {error:#}");
    }
}

fn lock() -> MutexGuard<'static, Option<Daemon>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}
