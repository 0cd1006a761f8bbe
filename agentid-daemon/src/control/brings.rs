//! What a process that asks holds already, and would bring into its run.
//!
//! From its tag on the kernel asks the policy for whatever a run opens, makes and maps. What it holds by then was given to
//! it by whoever started it, and stays: so it is looked at here, before the tag and once more after it.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use nix::sys::socket::{UnixAddr, getpeername, getsockname, getsockopt, sockopt};
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    process::{PidfdGetfdFlags, pidfd_getfd},
};

use crate::supervisor::command::Caller;

/// The kernel's name for a ring, as a descriptor and in memory.
const RING: &str = "anon_inode:[io_uring]";
/// Standard input, output and error are the run's.
const LAST_STANDARD: i32 = 2;

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
}

/// The first thing that is found, if there is any. Only a process that lives afterwards was looked at.
pub fn brought(caller: &Caller) -> io::Result<Option<Brought>> {
    let process = format!("/proc/{}", caller.tgid);
    // Lines that end so are rings; a file that is called so is as well off without a run.
    if fs::read(format!("{process}/maps"))?.split(|it| *it == b'\n').any(is_ring) {
        return Ok(Some(Brought::Ring("in its memory".to_owned())));
    }
    let mut connection = None;
    for entry in fs::read_dir(format!("{process}/fd"))? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let number = number.ok_or(io::ErrorKind::InvalidData)?;
        let what = match fs::read_link(entry.path()) {
            Ok(what) => what.to_string_lossy().into_owned(),
            // Closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let other = || Brought::Open { number, what: kind(&what) };
        let found = if what == RING {
            Some(Brought::Ring(format!("as descriptor {number}")))
        } else if what.starts_with("socket:") {
            match socket(caller, number)? {
                Some(Socket::Listens) => Some(Brought::Listener(number)),
                // Once: whoever asks needs one connection.
                Some(Socket::Ours) if *connection.get_or_insert(what.clone()) == what => None,
                Some(_) => (number > LAST_STANDARD).then(other),
                None => None,
            }
        } else if is_folder(&entry.path())? {
            Some(Brought::Folder(number))
        } else {
            (number > LAST_STANDARD).then(other)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
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
}

/// `None` when it has been closed meanwhile.
fn socket(caller: &Caller, number: i32) -> io::Result<Option<Socket>> {
    let socket = match pidfd_getfd(caller.process(), number, PidfdGetfdFlags::empty()) {
        Ok(socket) => socket,
        Err(Errno::BADF) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    Ok(Some(if getsockopt(&socket, sockopt::AcceptConn)? {
        Socket::Listens
    } else if is_ours(caller, &socket) {
        Socket::Ours
    } else {
        Socket::Other
    }))
}

/// Whether this process is at the other end, under the address at which it listens. No other process can have that: the
/// kernel notes whose the listener is.
fn is_ours(caller: &Caller, socket: &impl AsFd) -> bool {
    let (socket, own) = (socket.as_fd(), caller.socket());
    let listener = getsockopt(&socket, sockopt::PeerCredentials).map(|peer| peer.pid());
    let at = getpeername::<UnixAddr>(socket.as_raw_fd());
    listener.is_ok_and(|pid| pid.unsigned_abs() == std::process::id())
        && at.is_ok_and(|at| getsockname::<UnixAddr>(own.as_raw_fd()) == Ok(at))
}

/// Only the kernel's own memory of it is looked at: a filesystem may be a process of the caller's, which does not have to
/// answer, or does not answer root.
fn is_folder(link: &Path) -> io::Result<bool> {
    match open(link, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(true),
        // The latter when it has been closed meanwhile.
        Err(Errno::NOTDIR | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
