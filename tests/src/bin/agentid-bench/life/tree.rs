//! A tree of tasks that all do one thing, or each another.

use std::collections::BTreeSet;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::sendfile::sendfile;
use nix::unistd::{ForkResult, Pid, fork, pause, pipe, read, write};

use crate::terrain::GRANTED_FILE;

/// How many below the first, and how many below each of those.
const BRANCHES: usize = 9;
const LEAVES: usize = 10;
/// All of them, the first included.
pub const TASKS: usize = 1 + BRANCHES + BRANCHES * LEAVES;

/// What the tasks of a tree do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sleep,
    Compute,
    Read,
    Open,
    Write,
    /// A byte to itself, over a socket.
    Send,
    /// A page of a file, mapped and looked at.
    Map,
    /// A file into a pipe.
    Sendfile,
    /// Ten processes, each with ten threads that sleep.
    Threads,
    /// Each of the first five in turn.
    Mixed,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Sleep,
        Self::Compute,
        Self::Read,
        Self::Open,
        Self::Write,
        Self::Send,
        Self::Map,
        Self::Sendfile,
        Self::Threads,
        Self::Mixed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::Compute => "compute",
            Self::Read => "wait in a read",
            Self::Open => "open and close",
            Self::Write => "write and read a pipe",
            Self::Send => "send and receive",
            Self::Map => "map a file",
            Self::Sendfile => "sendfile",
            Self::Threads => "sleep, ten threads in each",
            Self::Mixed => "each one of the first five",
        }
    }

    /// Whether the tasks meet the kernel without being woken.
    pub const fn goes_on(self) -> bool {
        !matches!(self, Self::Sleep | Self::Read | Self::Threads | Self::Mixed)
    }
}

/// The calling process becomes the first of the tree. Each task writes the number of its process when it is there.
pub fn grow(kind: Kind, out: File) -> Result<()> {
    let mut number = 0;
    for branch in 1..=BRANCHES {
        // SAFETY: this process has one thread.
        if let ForkResult::Child = unsafe { fork() }? {
            number = branch;
            let leaves = if kind == Kind::Threads { 0 } else { LEAVES };
            for leaf in 0..leaves {
                // SAFETY: this process has one thread.
                if let ForkResult::Child = unsafe { fork() }? {
                    number = branch * LEAVES + leaf;
                    break;
                }
            }
            break;
        }
    }
    let threads = if kind == Kind::Threads { LEAVES } else { 1 };
    let others: Vec<_> = (1..threads)
        .map(|_| out.try_clone().map(|out| thread::spawn(move || live(Kind::Sleep, out))))
        .collect::<Result<_, _>>()?;
    let five = [Kind::Sleep, Kind::Compute, Kind::Read, Kind::Open, Kind::Write];
    let kind = match kind {
        Kind::Mixed => *five.get(number % five.len()).context("a kind is missing")?,
        Kind::Threads => Kind::Sleep,
        kind => kind,
    };
    live(kind, out)?;
    drop(others);
    Ok(())
}

/// Never returns, unless something is refused.
fn live(kind: Kind, mut out: File) -> Result<()> {
    out.write_all(&std::process::id().to_ne_bytes())?;
    let (from, to) = pipe()?;
    // A tree has what its kind needs: an end looks for what has to be ended.
    let mut pair = (kind == Kind::Send).then(UnixStream::pair).transpose()?;
    let file = matches!(kind, Kind::Map | Kind::Sendfile).then(|| File::open(GRANTED_FILE));
    let file = file.transpose()?;
    loop {
        match kind {
            Kind::Compute => black_box(()),
            Kind::Read => drop(read(&from, &mut [0])?),
            // Denied it is asked for again.
            Kind::Open => drop(File::open(GRANTED_FILE)),
            Kind::Write => {
                write(&to, b"x")?;
                read(&from, &mut [0])?;
            }
            Kind::Send => {
                let (near, far) = pair.as_mut().context("there is no socket")?;
                near.write_all(b"x")?;
                far.read_exact(&mut [0])?;
            }
            Kind::Map => look(file.as_ref().context("there is no file")?)?,
            Kind::Sendfile => {
                let file = file.as_ref().context("there is no file")?;
                sendfile(&to, file, Some(&mut 0), 1)?;
                read(&from, &mut [0])?;
            }
            Kind::Sleep | Kind::Threads | Kind::Mixed => pause(),
        }
    }
}

/// Maps a page of a file, reads of it, and lets go of it.
fn look(file: &File) -> Result<()> {
    let page = NonZeroUsize::MIN;
    // SAFETY: the mapping is nobody else's, is read within its file, and is gone before anything could refer to it.
    unsafe {
        let at = mmap(None, page, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, 0)?;
        black_box(at.cast::<u8>().read_volatile());
        munmap(at, page.get())?;
    }
    Ok(())
}

/// The processes of a tree, once all its tasks are there.
pub fn processes(says: &mut impl Read) -> Result<Vec<Pid>> {
    let mut found = BTreeSet::new();
    for _ in 0..TASKS {
        let mut number = [0; 4];
        says.read_exact(&mut number).context("a tree has not grown")?;
        found.insert(Pid::from_raw(i32::from_ne_bytes(number)));
    }
    Ok(found.into_iter().collect())
}
