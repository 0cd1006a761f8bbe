//! Hanging up for a run that is over: whoever talks to it hears of it at once, and not from a time-out.
//!
//! That nothing more passes is the kernel programs' part. This ends the connections themselves: each socket that the run
//! has made, and that one of its processes still holds, is taken from that process, reset if it is one of TCP, and shut
//! down if it is a unix socket. Sockets that were made by somebody else are left as they are.
//!
//! First all are taken of the processes that are to be killed, which is soon done; then those may be: what a killed process
//! leaves unsent would keep the others waiting, and its sockets are not to be had any more. The kernel locks a socket while
//! its owner is in a call on it, and a run that is not killed can stay there as long as it likes. Therefore this has a thread
//! of its own, and takes one socket at a time from such a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use agentid_common::{record::SocketLine, tag::Tag};
use aya::maps::{Map, MapData, MapError, SkStorage};
use rustix::process::{ForeignRawFd, PidfdGetfdFlags, pidfd_getfd};
use tracing::debug;

use super::{
    freezer::Runs,
    list::{self, ListError},
    maps::{MapsError, Tags},
    pins::Pins,
    priority::have_thread_come_first,
    tasks::{self, Processes, StopError},
};

/// The map of the tags of sockets.
pub const SOCKETS: &str = "SOCKETS";

#[derive(Debug, thiserror::Error)]
pub enum HangUpError {
    #[error("read the list of sockets")]
    Sockets(#[from] ListError),
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
    #[error("end all connections: the thread for it has ended")]
    Lost,
}

/// As many sockets are held at once, beyond which each is ended when it is taken.
const MOST_HELD: usize = 256;
/// By as many threads. One that cannot go on, because the kernel waits for somebody, keeps what it holds.
const MOST_HOLDING: usize = 16;
/// As many sockets of all runs are looked at to see whether there is anything to do.
const MOST_LISTED: u32 = 400;

/// Connections that are being ended.
pub struct HangingUp {
    taken: mpsc::Receiver<()>,
    done: mpsc::Receiver<HungUp>,
}

/// Those of one run.
#[derive(Clone, Copy, Debug)]
pub struct EndedConnections {
    pub count: u64,
    /// When the last one was told.
    pub last: Instant,
}

impl EndedConnections {
    /// One more of a slot's, now.
    pub fn add(all: &mut BTreeMap<u32, Self>, slot: u32) {
        Self::merge(all, slot, Self { count: 1, last: Instant::now() });
    }

    /// So many more of a slot's.
    pub fn merge(all: &mut BTreeMap<u32, Self>, slot: u32, more: Self) {
        let before = all.get(&slot).map_or(0, |ended| ended.count);
        all.insert(slot, Self { count: before + more.count, ..more });
    }
}

/// Connections that have ended.
#[derive(Debug)]
pub struct HungUp {
    /// Those of each run, by its slot.
    pub connections: BTreeMap<u32, EndedConnections>,
    /// The first thing that went wrong.
    pub failure: Option<HangUpError>,
}

impl HangingUp {
    /// Waits until the processes may be killed: their sockets are held. False if that takes longer.
    pub fn is_taken(&self, patience: Duration) -> bool {
        // One who has ended has taken what could be taken.
        self.taken.recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout)
    }

    /// Waits until all connections have ended.
    pub fn finish(self, patience: Duration) -> Result<HungUp, HangUpError> {
        self.done.recv_timeout(patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => HangUpError::Late,
            mpsc::RecvTimeoutError::Disconnected => HangUpError::Lost,
        })
    }
}

/// Begins to end every connection of these processes that their runs have made; those of the runs `killed` are to be killed.
/// `list` is the one of the sockets of all runs. Without any of theirs there is nothing to do: a run that is over makes no
/// more. What goes wrong with one keeps no other.
pub fn hang_up(
    processes: Processes,
    killed: &Runs,
    list: File,
    pins: &Pins,
) -> Result<Option<HangingUp>, HangUpError> {
    let runs: Runs = processes.iter().map(|&(_, slot, generation)| (slot, generation)).collect();
    let mut seen = 0;
    let may_be_theirs = |line: &SocketLine| {
        seen += 1;
        runs.get(&line.slot) == Some(&line.generation) || seen > MOST_LISTED
    };
    if !list::any(list, may_be_theirs)? {
        return Ok(None);
    }
    let mut ending = Ending {
        tags: Tags::pinned(&pins.map("TAGS"))?,
        sockets: sockets(&pins.map(SOCKETS))?,
        held: Vec::new(),
        seen: BTreeSet::new(),
        connections: BTreeMap::new(),
        failure: None,
    };
    let (killed, others): (Processes, Processes) =
        processes.into_iter().partition(|(_, slot, _)| killed.contains_key(slot));
    static HOLDING: AtomicUsize = AtomicUsize::new(0);
    let most_held = if HOLDING.load(Ordering::Relaxed) < MOST_HOLDING { MOST_HELD } else { 0 };
    HOLDING.fetch_add(1, Ordering::Relaxed);
    let (has_taken, taken) = mpsc::sync_channel(1);
    let (is_done, done) = mpsc::sync_channel(1);
    let begun = thread::Builder::new()
        .name("hang up".to_owned())
        .spawn(move || {
            ending.take_all(&killed, most_held);
            // Nobody waits any more: it was late, and that has been said.
            has_taken.send(()).unwrap_or(());
            ending.end_held();
            HOLDING.fetch_sub(1, Ordering::Relaxed);
            ending.take_all(&others, 0);
            is_done.send(ending.finish()).unwrap_or(());
        })
        .map_err(HangUpError::Thread);
    match begun {
        Ok(thread) => {
            // As the thread does that waits for it.
            if let Err(error) = have_thread_come_first(&thread) {
                debug!(%error, "connections are ended in turn with all else");
            }
            Ok(Some(HangingUp { taken, done }))
        }
        Err(error) => {
            HOLDING.fetch_sub(1, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// Who has made which socket.
pub(super) type Sockets = SkStorage<MapData, Tag>;

pub(super) fn sockets(path: &Path) -> Result<Sockets, MapsError> {
    let failed = |source| MapsError::Type { name: SOCKETS, source };
    let map = MapData::from_pin(path).map_err(failed)?;
    SkStorage::try_from(Map::SkStorage(map)).map_err(failed)
}

/// What it takes to end the connections of runs.
struct Ending {
    tags: Tags,
    sockets: Sockets,
    held: Vec<Held>,
    /// Numbers of the sockets that were taken: several processes may have one.
    seen: BTreeSet<u64>,
    connections: BTreeMap<u32, EndedConnections>,
    failure: Option<HangUpError>,
}

/// A socket, and whose it was.
struct Held {
    tgid: u32,
    slot: u32,
    socket: OwnedFd,
}

impl Ending {
    /// Ends what is more than so many are held.
    fn take_all(&mut self, processes: &Processes, most_held: usize) {
        for &(tgid, slot, generation) in processes {
            let run = Tag { slot, generation, ..Tag::default() };
            let outcome = self.take(tgid, &run, most_held);
            self.note(outcome);
        }
    }

    fn end_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.end(&held);
        }
    }

    fn finish(self) -> HungUp {
        HungUp { connections: self.connections, failure: self.failure }
    }

    fn take(&mut self, tgid: u32, run: &Tag, most_held: usize) -> Result<(), HangUpError> {
        let process = tasks::hold(&self.tags, tgid, run.slot, run.generation)?;
        let Some(process) = process else { return Ok(()) };
        for (number, inode) in
            sockets_of(tgid).map_err(|source| HangUpError::List { tgid, source })?
        {
            if self.seen.contains(&inode) {
                continue;
            }
            match self.one(tgid, run, process.as_fd(), number) {
                Ok(Some(socket)) => {
                    // Only now: a process that is gone, or of another run, has not taken it for those that have it too.
                    self.seen.insert(inode);
                    let held = Held { tgid, slot: run.slot, socket };
                    if self.held.len() < most_held { self.held.push(held) } else { self.end(&held) }
                }
                Ok(None) => {}
                Err(error) => self.note(Err(error)),
            }
        }
        Ok(())
    }

    fn end(&mut self, held: &Held) {
        match end(&held.socket) {
            Ok(true) => EndedConnections::add(&mut self.connections, held.slot),
            Ok(false) => {}
            Err(source) => self.note(Err(HangUpError::End { tgid: held.tgid, source })),
        }
    }

    fn note(&mut self, outcome: Result<(), HangUpError>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert(error);
        }
    }

    /// Nothing when it is no socket, or not the run's.
    fn one(
        &self,
        tgid: u32,
        run: &Tag,
        process: BorrowedFd<'_>,
        number: ForeignRawFd,
    ) -> Result<Option<OwnedFd>, HangUpError> {
        let socket = match pidfd_getfd(process, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            // Closed by now, or the process is gone.
            Err(rustix::io::Errno::BADF | rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(HangUpError::Take { tgid, source: error.into() }),
        };
        let maker = match self.sockets.get(&socket.as_raw_fd(), 0) {
            Ok(maker) => maker,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(MapError::SyscallError(error))
                if matches!(error.io_error.raw_os_error(), Some(libc::ENOENT | libc::ENOTSOCK)) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(HangUpError::Look { tgid, source }),
        };
        Ok(maker.is_of_the_run_of(run).then_some(socket))
    }
}

/// Numbers of the descriptors that are sockets, and of those sockets. A process that is gone has none.
pub(super) fn sockets_of(tgid: u32) -> io::Result<Vec<(RawFd, u64)>> {
    let entries = match fs::read_dir(format!("/proc/{tgid}/fd")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let socket = |path: &Path| {
        let to = fs::read_link(path).ok()?;
        to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let mut found = Vec::new();
    for entry in entries {
        // The process may end meanwhile.
        let Ok(entry) = entry else { break };
        if let Some(socket) = socket(&entry.path())
            && let Ok(number) = entry.file_name().to_string_lossy().parse()
        {
            found.push((number, socket));
        }
    }
    Ok(found)
}

/// False for a socket that has no connection to end: its packets are dropped, and that is all there is to it.
pub(super) fn end(socket: &OwnedFd) -> io::Result<bool> {
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
