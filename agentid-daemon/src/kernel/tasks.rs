//! The tagged tasks of the host: listing them, and stopping those of one run.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use agentid_common::record::TaskLine;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    demand::DemandError,
    freezer::Runs,
    list::{self, ListError},
    maps::{MapsError, TagError, Tags},
    object::ObjectError,
};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("open the list of tagged tasks")]
    List(#[from] ObjectError),
    #[error("read a list of the kernel programs")]
    Lines(#[from] ListError),
    #[error("open the list of tagged sockets")]
    Sockets(#[source] io::Error),
    #[error("look at what a process shares")]
    Shares(#[source] Box<DemandError>),
    #[error("read the kernel's maps")]
    Map(#[from] aya::maps::MapError),
    #[error(transparent)]
    Ring(#[from] MapsError),
}

#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    List(#[from] ReadError),
    #[error("open process {tgid}")]
    Open { tgid: u32, source: io::Error },
    #[error("look at process {tgid}")]
    Look { tgid: u32, source: TagError },
    #[error("kill process {tgid}")]
    Kill { tgid: u32, source: io::Error },
}

/// Processes that are of a run each, with its slot and generation.
pub type Processes = BTreeSet<(u32, u32, u64)>;

/// The processes of the runs, by one look at all tasks of the host.
pub fn processes(iterator: File, runs: &Runs) -> Result<Processes, ReadError> {
    let mut found = Processes::new();
    list::each(iterator, |line: TaskLine| {
        if runs.get(&line.slot) == Some(&line.generation) {
            found.insert((line.tgid, line.slot, line.generation));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// SIGKILL to each that is still of its run; gives how many there were. One that cannot be killed keeps no other. A fork that
/// was under way when they were listed may need another pass.
pub fn stop(processes: &Processes, tags: &Tags) -> Result<usize, StopError> {
    let (mut killed, mut outcome) = (0, Ok(()));
    for &(tgid, slot, generation) in processes {
        match kill(tags, tgid, slot, generation) {
            Ok(there) => killed += usize::from(there),
            Err(error) => outcome = Err(error),
        }
    }
    outcome.map(|()| killed)
}

/// A descriptor of a process, if it is still the one that was listed: a number may have been given to another process
/// since.
pub fn hold(
    tags: &Tags,
    tgid: u32,
    slot: u32,
    generation: u64,
) -> Result<Option<OwnedFd>, StopError> {
    let Some(pid) = i32::try_from(tgid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(StopError::Open { tgid, source: error.into() }),
    };
    let tag = tags.get(process.as_fd()).map_err(|source| StopError::Look { tgid, source })?;
    let is_it = tag.is_some_and(|tag| tag.slot == slot && tag.generation == generation);
    Ok(is_it.then_some(process))
}

/// Whether a process has not exited: its descriptor then is not readable.
pub fn lives(process: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO) == Ok(0)
}

/// Kills one process of a run.
fn kill(tags: &Tags, tgid: u32, slot: u32, generation: u64) -> Result<bool, StopError> {
    let Some(process) = hold(tags, tgid, slot, generation)? else {
        return Ok(false);
    };
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(StopError::Kill { tgid, source: error.into() }),
    }
}
