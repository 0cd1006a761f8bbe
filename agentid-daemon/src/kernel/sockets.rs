//! Hanging up for a run that is over: whoever talks to it hears of it at once, and not from a time-out.
//!
//! That nothing more passes is the kernel programs' part. This ends the connections themselves: each socket that the run
//! has made, and that one of its processes still holds, is taken from that process for a moment, reset if it is one of
//! TCP, and shut down if it is a unix socket. Sockets that were made by somebody else are left as they are.
//!
//! The kernel locks a socket while its owner is in a call on it, and a run can stay there as long as it likes. Therefore
//! this has a thread of its own.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use agentid_common::tag::Tag;
use aya::maps::{Map, MapData, MapError, SkStorage};
use rustix::process::{ForeignRawFd, PidfdGetfdFlags, pidfd_getfd};

use super::{
    maps::{MapsError, Tags},
    pins::Pins,
    tasks::{self, Processes, StopError},
};

/// The map of the tags of sockets.
pub const SOCKETS: &str = "SOCKETS";

#[derive(Debug, thiserror::Error)]
pub enum HangUpError {
    #[error(transparent)]
    Process(#[from] StopError),
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error("look for the sockets of process {tgid}")]
    List { tgid: u32, source: io::Error },
    #[error("take a socket of process {tgid}")]
    Take { tgid: u32, source: io::Error },
    #[error("look at a socket of process {tgid}")]
    Look { tgid: u32, source: MapError },
    #[error("end a connection of process {tgid}")]
    End { tgid: u32, source: io::Error },
    #[error("start a thread")]
    Thread(#[source] io::Error),
    #[error("end all connections in time: that goes on beside")]
    Late,
}

/// Ends every connection of these processes that their runs have made; gives how many there were, if that is known within
/// `patience`. What goes wrong with one keeps no other.
pub fn hang_up(
    processes: Processes,
    pins: &Pins,
    patience: Duration,
) -> Result<usize, HangUpError> {
    let ending =
        Ending { tags: Tags::pinned(&pins.map("TAGS"))?, sockets: sockets(&pins.map(SOCKETS))? };
    let (done, waiting) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("hang up".to_owned())
        .spawn(move || {
            // Nobody waits any more: it was late, and that has been said.
            done.send(ending.all(&processes)).unwrap_or(());
        })
        .map_err(HangUpError::Thread)?;
    waiting.recv_timeout(patience).map_err(|_| HangUpError::Late)?
}

fn sockets(path: &Path) -> Result<SkStorage<MapData, Tag>, MapsError> {
    let failed = |source| MapsError::Type { name: SOCKETS, source };
    let map = MapData::from_pin(path).map_err(failed)?;
    SkStorage::try_from(Map::SkStorage(map)).map_err(failed)
}

/// What it takes to end the connections of runs.
struct Ending {
    tags: Tags,
    sockets: SkStorage<MapData, Tag>,
}

impl Ending {
    fn all(&self, processes: &Processes) -> Result<usize, HangUpError> {
        let (mut ended, mut failure) = (0, None);
        for &(tgid, slot, generation) in processes {
            let run = Tag { slot, generation, ..Tag::default() };
            if let Err(error) = self.of_process(tgid, &run, &mut ended) {
                failure = failure.or(Some(error));
            }
        }
        failure.map_or(Ok(ended), Err)
    }

    fn of_process(&self, tgid: u32, run: &Tag, ended: &mut usize) -> Result<(), HangUpError> {
        let process = tasks::hold(&self.tags, tgid, run.slot, run.generation)?;
        let Some(process) = process else { return Ok(()) };
        let mut failure = None;
        for number in numbers(tgid).map_err(|source| HangUpError::List { tgid, source })? {
            match self.one(tgid, run, process.as_fd(), number) {
                Ok(had) => *ended += usize::from(had),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Ends the connection of one socket; false when it is none, or not the run's.
    fn one(
        &self,
        tgid: u32,
        run: &Tag,
        process: BorrowedFd<'_>,
        number: ForeignRawFd,
    ) -> Result<bool, HangUpError> {
        let socket = match pidfd_getfd(process, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            // Closed by now, or the process is gone.
            Err(rustix::io::Errno::BADF | rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(HangUpError::Take { tgid, source: error.into() }),
        };
        let maker = match self.sockets.get(&socket.as_raw_fd(), 0) {
            Ok(maker) => maker,
            Err(MapError::KeyNotFound) => return Ok(false),
            Err(MapError::SyscallError(error))
                if matches!(error.io_error.raw_os_error(), Some(libc::ENOENT | libc::ENOTSOCK)) =>
            {
                return Ok(false);
            }
            Err(source) => return Err(HangUpError::Look { tgid, source }),
        };
        if !maker.is_of_the_run_of(run) {
            return Ok(false);
        }
        end(&socket).map_err(|source| HangUpError::End { tgid, source })
    }
}

/// Numbers of the descriptors that are sockets. A process that is gone has none.
fn numbers(tgid: u32) -> io::Result<Vec<RawFd>> {
    let entries = match fs::read_dir(format!("/proc/{tgid}/fd")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_socket = |path: &Path| {
        fs::read_link(path)
            .is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
    };
    let mut found = Vec::new();
    for entry in entries {
        // The process may end meanwhile.
        let Ok(entry) = entry else { break };
        if is_socket(&entry.path())
            && let Ok(number) = entry.file_name().to_string_lossy().parse()
        {
            found.push(number);
        }
    }
    Ok(found)
}

/// False for a socket that has no connection to end: its packets are dropped, and that is all there is to it.
fn end(socket: &OwnedFd) -> io::Result<bool> {
    let family = option(socket, libc::SO_DOMAIN)?;
    let ended = match family {
        libc::AF_INET | libc::AF_INET6
            if option(socket, libc::SO_PROTOCOL)? == libc::IPPROTO_TCP =>
        {
            reset(socket)
        }
        libc::AF_UNIX => shut_down(socket),
        _ => return Ok(false),
    };
    match ended {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => Ok(false),
        Err(error) => Err(error),
    }
}

fn option(socket: &OwnedFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Takes the peer away from a socket of TCP, which tells the peer (net/ipv4/tcp.c: `tcp_disconnect`). A listener loses
/// those who wait to be accepted, and listens no more.
fn reset(socket: &OwnedFd) -> io::Result<()> {
    let nobody =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length = size_of_val(&nobody) as libc::socklen_t;
    // SAFETY: the address is of the given length.
    let failed = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, length) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn shut_down(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes plain integers.
    let failed = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
