//! What a process that asks holds already, and would bring into its run.
//!
//! From its tag on the kernel asks the policy for whatever a run opens, makes and maps. What it holds by then was given to
//! it by whoever started it, and stays: so it is looked at here, before the tag and once more after it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
    sync::mpsc,
    thread,
};

use agentid_common::anonymous;
use nix::sys::socket::{UnixAddr, getpeername, getsockname, getsockopt, sockopt};
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    process::{PidfdGetfdFlags, pidfd_getfd},
};

use super::{
    looks::{self, Look},
    mappings,
};
use crate::supervisor::command::Caller;

/// The kernel's name for a ring, as a descriptor and in memory.
const RING: &str = "anon_inode:[io_uring]";
/// What stands before the name of a descriptor that is no file's.
const ANONYMOUS: &str = "anon_inode:";
/// Standard input, output and error are the run's.
const LAST_STANDARD: i32 = 2;
/// Most that is read about a process's memory, in bytes: some forty thousand mappings, or five thousand with all that is said
/// of each.
const MOST: u64 = 4 << 20;
/// Most tables of pages, in KiB, that the kernel walks for that: two million entries, a tenth of a second.
const MOST_TABLES: u64 = 16 << 10;

/// Something that a run does not begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brought {
    /// A ring of io_uring, and where it is. Threads of its maker, which have no tag, may do what is written to it.
    Ring(String),
    /// A socket that takes connections.
    Listener(i32),
    /// A folder, below which names lead.
    Folder(i32),
    /// Anything else than the three standard streams and the connection on which it asks.
    Open { number: i32, what: String },
    /// Memory that it may write and others see, and what it is of: no rule is asked for what goes through it.
    Mapping(String),
    /// A descriptor was closed between being listed and being looked at, so that no look is complete. Who waits for an
    /// answer closes nothing meanwhile.
    Changing,
}

/// The first thing that is found, if there is any. Only a process that lives afterwards was looked at.
pub fn brought(caller: &Caller) -> io::Result<Option<Brought>> {
    let user = (!caller.operator).then_some(caller.account);
    let look = Look::begin(user).map_err(io::Error::other)?;
    let process = Process::of(caller)?;
    let (answer, answers) = mpsc::sync_channel(1);
    // Beside the daemon's own thread, which goes on when nothing comes.
    thread::Builder::new().name("brought".to_owned()).spawn(move || {
        let found = process.brings();
        // Before the next one may begin.
        drop(look);
        // Nobody waits for an answer that comes too late.
        answer.send(found).unwrap_or_default();
    })?;
    answers.recv_timeout(looks::patience(user)).map_err(|_| {
        looks::is_late(user);
        io::Error::new(io::ErrorKind::TimedOut, "it keeps the kernel from telling about it")
    })?
}

/// Whose descriptors and memory are looked at.
struct Process {
    tgid: u32,
    pidfd: OwnedFd,
    /// Where this daemon listens.
    here: Option<UnixAddr>,
}

impl Process {
    fn of(caller: &Caller) -> io::Result<Self> {
        Ok(Self {
            tgid: caller.tgid,
            pidfd: caller.process().try_clone_to_owned()?,
            here: getsockname::<UnixAddr>(caller.socket().as_raw_fd()).ok(),
        })
    }

    fn brings(&self) -> io::Result<Option<Brought>> {
        let process = format!("/proc/{}", self.tgid);
        // Lines that end so are rings; a file that is called so is as well off without a run.
        let mut maps = Vec::new();
        File::open(format!("{process}/maps"))?.take(MOST).read_to_end(&mut maps)?;
        if maps.len() as u64 == MOST {
            return Err(io::Error::other("it has too many mappings"));
        }
        if maps.split(|it| *it == b'\n').any(is_ring) {
            return Ok(Some(Brought::Ring("in its memory".to_owned())));
        }
        // What may be written is told where the kernel walks all memory, which few processes need.
        if maps.split(|it| *it == b'\n').any(mappings::is_shared) {
            let status = fs::read_to_string(format!("{process}/status"))?;
            if mappings::tables(&status).is_none_or(|kib| kib > MOST_TABLES) {
                return Err(io::Error::other("it has too much memory to look through"));
            }
            let mut text = Vec::new();
            File::open(format!("{process}/smaps"))?.take(MOST).read_to_end(&mut text)?;
            if text.len() as u64 == MOST {
                return Err(io::Error::other("it has too many mappings"));
            }
            if let Some(what) = mappings::writable_of(&String::from_utf8_lossy(&text)) {
                return Ok(Some(Brought::Mapping(what)));
            }
        }
        // Whoever asks needs one connection, and has it once.
        let mut connected = false;
        for entry in fs::read_dir(format!("{process}/fd"))? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let number = number.ok_or(io::ErrorKind::InvalidData)?;
            let what = match fs::read_link(entry.path()) {
                Ok(what) => what.to_string_lossy().into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some(Brought::Changing));
                }
                Err(error) => return Err(error),
            };
            let other = || Brought::Open { number, what: kind(&what) };
            let beyond = number > LAST_STANDARD;
            let found = if what == RING {
                Some(Brought::Ring(format!("as descriptor {number}")))
            } else if what.starts_with("socket:") {
                match self.socket(number)? {
                    Socket::Listens => Some(Brought::Listener(number)),
                    Socket::Closed => Some(Brought::Changing),
                    Socket::Ours if !std::mem::replace(&mut connected, true) => None,
                    // It is nobody's, or the one on which it asks.
                    Socket::Unseen if beyond && !std::mem::replace(&mut connected, true) => None,
                    Socket::Ours | Socket::Unseen | Socket::Other => beyond.then(other),
                }
            } else {
                match is_folder(&entry.path())? {
                    None => Some(Brought::Changing),
                    Some(true) => Some(Brought::Folder(number)),
                    Some(false) if leads(&what) => Some(other()),
                    Some(false) => beyond.then(other),
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn socket(&self, number: i32) -> io::Result<Socket> {
        let socket = match pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            // This host lets nobody look (`kernel.yama.ptrace_scope` is 3).
            Err(Errno::PERM) => return Ok(Socket::Unseen),
            Err(Errno::BADF) => return Ok(Socket::Closed),
            Err(errno) => return Err(errno.into()),
        };
        Ok(if getsockopt(&socket, sockopt::AcceptConn)? {
            Socket::Listens
        } else if self.is_ours(&socket) {
            Socket::Ours
        } else {
            Socket::Other
        })
    }

    /// Whether this daemon is at the other end, under the address at which it listens. No other process can have that: the
    /// kernel notes whose the listener is.
    fn is_ours(&self, socket: &impl AsFd) -> bool {
        let socket = socket.as_fd();
        let listener = getsockopt(&socket, sockopt::PeerCredentials).map(|peer| peer.pid());
        let at = getpeername::<UnixAddr>(socket.as_raw_fd()).ok();
        listener.is_ok_and(|pid| pid.unsigned_abs() == std::process::id())
            && at.is_some()
            && at == self.here
    }
}

/// Whether a descriptor of this name reaches further than itself.
fn leads(what: &str) -> bool {
    what.strip_prefix(ANONYMOUS).is_some_and(|name| !anonymous::HARMLESS.contains(&name))
}

fn is_ring(line: &[u8]) -> bool {
    line.ends_with(RING.as_bytes())
}

/// What it is called where its path is nobody's business.
fn kind(what: &str) -> String {
    if what.starts_with('/') { "a file".to_owned() } else { what.to_owned() }
}

/// A socket, as far as it matters.
enum Socket {
    Listens,
    /// A connection to the socket that the caller's is one to.
    Ours,
    Other,
    /// Nobody may look at it.
    Unseen,
    /// It was one until now.
    Closed,
}

/// Nothing if it is closed by now. Only the kernel's own memory of it is looked at: a filesystem may be a process of the
/// caller's, which does not have to answer, or does not answer root.
fn is_folder(link: &Path) -> io::Result<Option<bool>> {
    match open(link, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(Some(true)),
        Err(Errno::NOTDIR) => Ok(Some(false)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
