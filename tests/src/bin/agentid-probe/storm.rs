//! Many tasks, of which each tries one open.

use std::{collections::BTreeMap, ffi::CString, os::unix::ffi::OsStrExt as _, path::Path, thread};

use anyhow::Result;

use crate::inherit;

/// How often each errno came. A task that could not be started counts with the errno of its start, less 1000.
type Tally = BTreeMap<i32, u64>;

const NOT_STARTED: i32 = 1000;
/// One of so many tasks is a process of its own, which costs far more than one in the probe's memory.
const FORK_EVERY: u32 = 16;

/// Starts `tasks` tasks on each of two threads in turn, until all are done.
pub fn storm(tasks: u32, path: &Path) -> Result<Tally> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let halves = [tasks / 2, tasks - tasks / 2];
    let workers: Vec<_> = halves
        .into_iter()
        .map(|tasks| {
            let path = path.clone();
            thread::Builder::new().spawn(move || half(tasks, &path))
        })
        .collect::<Result<_, _>>()?;
    let mut sum = Tally::new();
    for worker in workers {
        let tally = worker.join().map_err(|_| anyhow::anyhow!("a storm has panicked"))?;
        for (errno, times) in tally {
            *sum.entry(errno).or_default() += times;
        }
    }
    Ok(sum)
}

fn half(tasks: u32, path: &CString) -> Tally {
    let mut tally = Tally::new();
    for number in 0..tasks {
        let child =
            if number % FORK_EVERY == 0 { inherit::clone3(path) } else { inherit::vfork(path) };
        let errno = child.map_or_else(|errno| errno - NOT_STARTED, inherit::collect);
        *tally.entry(errno).or_default() += 1;
    }
    tally
}
