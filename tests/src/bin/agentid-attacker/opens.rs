//! Opening files, once and very often.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, mpsc},
    thread,
    time::Instant,
};

use agentid_tests::attack::{Effort, Verdicts};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
};

pub fn read(path: &Path) -> io::Result<()> {
    File::open(path).map(drop)
}

pub fn hammer(granted: &[PathBuf], denied: &[PathBuf], threads: usize, effort: Effort) -> Verdicts {
    // Each thread does its part.
    let at_least = effort.at_least.div_ceil(threads.max(1) as u64);
    let end = End::of(Effort { at_least, ..effort });
    let gate = RwLock::new(());
    let threads = thread::scope(|scope| {
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        let begin = |_| {
            let (begins, begun) = mpsc::sync_channel::<()>(0);
            let gate = &gate;
            let thread = scope.spawn(move || {
                let mut verdicts = Verdicts::default();
                if let Some(path) = granted.first() {
                    compare_one(&mut verdicts, path, 0);
                }
                drop(begins);
                drop(gate.read());
                compare(verdicts, granted, denied, end)
            });
            // The kernel makes room for a thread at its first open, and from 7.0 on may have none while many ask for it:
            // one after the other. Nothing is sent; this is over when the other end is gone.
            for () in begun {}
            thread
        };
        let begun: Vec<_> = (0..threads).map(begin).collect();
        drop(closed);
        begun.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died())).collect::<Vec<_>>()
    });
    threads.into_iter().fold(Verdicts::default(), |mut sum, found| {
        sum.right += found.right;
        for (what, count) in found.wrong {
            *sum.wrong.entry(what).or_default() += count;
        }
        sum
    })
}

fn died() -> Verdicts {
    Verdicts { right: 0, wrong: [("a thread has died".to_owned(), 1)].into() }
}

/// When it is enough.
#[derive(Clone, Copy)]
struct End {
    deadline: Instant,
    at_least: u64,
}

impl End {
    fn of(effort: Effort) -> Self {
        Self { deadline: Instant::now() + effort.time, at_least: effort.at_least }
    }

    /// Nothing is waited for once something went wrong.
    fn is_there(&self, verdicts: &Verdicts) -> bool {
        let enough = verdicts.right >= self.at_least || !verdicts.wrong.is_empty();
        enough && Instant::now() >= self.deadline
    }
}

fn compare(mut verdicts: Verdicts, granted: &[PathBuf], denied: &[PathBuf], end: End) -> Verdicts {
    while !end.is_there(&verdicts) {
        for (paths, right) in [(granted, 0), (denied, libc::EACCES)] {
            for path in paths {
                compare_one(&mut verdicts, path, right);
            }
        }
    }
    verdicts
}

fn compare_one(verdicts: &mut Verdicts, path: &Path, right: i32) {
    let errno = read(path).err().map_or(0, |error| super::errno(&error));
    note(verdicts, errno == right, errno, path);
}

pub fn chase(folder: &Path, name: &Path, effort: Effort) -> io::Result<Verdicts> {
    let end = End::of(effort);
    let folder = catch(folder, end.deadline)?;
    let mut verdicts = Verdicts::default();
    while !end.is_there(&verdicts) {
        let opened = openat(&folder, name, OFlag::O_RDONLY, Mode::empty());
        let errno = opened.err().map_or(0, |errno| errno as i32);
        // A fault (EPERM) is a refusal as well: the folders may have kept changing.
        note(&mut verdicts, errno == libc::EACCES || errno == libc::EPERM, errno, name);
    }
    Ok(verdicts)
}

/// A descriptor for the place alone, which needs no right and stays with the folder; taken when the folder comes by.
fn catch(folder: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    loop {
        match open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()) {
            Ok(folder) => return Ok(folder),
            Err(Errno::ENOENT) if Instant::now() < deadline => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn note(verdicts: &mut Verdicts, right: bool, errno: i32, path: &Path) {
    if right {
        verdicts.right += 1;
    } else {
        let what = format!("{errno} {}", path.display());
        *verdicts.wrong.entry(what).or_default() += 1;
    }
}
