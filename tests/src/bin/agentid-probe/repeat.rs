//! Opens that go on while the test does other things.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use anyhow::Result;

use crate::access;

/// Between rounds, which keep a processor from who loads programs meanwhile. Attaching them takes many times as long.
const PAUSE: Duration = Duration::from_millis(1);

/// How often each errno came.
type Tally = BTreeMap<i32, u64>;

/// A thread that opens files again and again.
pub struct Repeat {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    end: AtomicBool,
    tally: Mutex<Tally>,
}

impl Repeat {
    pub fn begin(paths: &[PathBuf]) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (own, paths) = (Arc::clone(&shared), paths.to_vec());
        let thread = thread::Builder::new().spawn(move || {
            while !own.end.load(Ordering::Relaxed) {
                for path in &paths {
                    let errno = access::read(path);
                    *own.tally().entry(errno).or_default() += 1;
                }
                sleep(PAUSE);
            }
        })?;
        Ok(Self { shared, thread })
    }

    pub fn count(&self) -> Tally {
        self.shared.tally().clone()
    }

    pub fn end(self) -> Tally {
        self.shared.end.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            eprintln!("the loop has panicked");
        }
        self.shared.tally().clone()
    }
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
