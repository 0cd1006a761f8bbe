//! Who asks, by the kernel's word alone, and what they may ask.
//!
//! The peer's credentials are those it had when it connected, and so is its run, which the kernel programs note at the
//! daemon's end of the connection. Its process is known by a pidfd, so that a number that was used again names nobody else:
//! the socket itself gives it on Linux 6.5 and later. Before that the number is looked up once, right after the connection
//! was taken; should the process have died by then and its number be in use again, the request is judged as that process's,
//! which gains its user nothing that it could not do itself.

#![allow(
    unsafe_code,
    reason = "SO_PEERGROUPS has no safe wrapper, and neither has a user of one thread alone"
)]

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use super::{
    account,
    api::{Code, ErrorReply},
};
use crate::{kernel, supervisor::command::Caller};

/// Most supplementary groups that are looked at (`NGROUPS_MAX` is 65536; nobody is in that many).
const GROUPS: usize = 1024;

/// Why a peer cannot be known.
#[derive(Debug, Error)]
pub enum CallerError {
    #[error("read the credentials of the peer")]
    Credentials(#[source] io::Error),
    #[error("keep the connection")]
    Socket(#[source] io::Error),
    #[error("open process {tgid} of the peer")]
    Process { tgid: i32, source: io::Error },
}

/// What is asked, as far as it decides who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    WhoAmI,
    /// What the caller's own run was denied.
    OwnDenials,
    /// A run below the caller's own.
    Delegate,
    /// The end of the caller's own run.
    OwnEnd,
    /// To change what holds for all.
    Host,
    /// A run that the caller itself becomes, or a look at the host or at the caller's own runs.
    Own,
    /// To see or end a run of this user.
    RunOf(u32),
}

/// What decides: the caller's user, its role, and whether it belongs to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub uid: u32,
    pub operator: bool,
    pub tagged: bool,
}

impl Standing {
    /// May somebody of this standing ask that?
    pub fn may(&self, ask: Ask) -> Result<(), ErrorReply> {
        match ask {
            Ask::WhoAmI => Ok(()),
            Ask::Delegate | Ask::OwnDenials | Ask::OwnEnd if self.tagged => Ok(()),
            Ask::OwnDenials => {
                let message = "the asking process belongs to no run, and nothing is denied to it";
                Err(ErrorReply::new(
                    Code::Forbidden,
                    message,
                    "agentid events shows what runs were denied",
                ))
            }
            Ask::OwnEnd => {
                let message = "the asking process belongs to no run that could end";
                Err(ErrorReply::new(
                    Code::Forbidden,
                    message,
                    "agentid revoke ends runs from outside",
                ))
            }
            Ask::Delegate => {
                let message = "the asking process belongs to no run that could delegate";
                Err(ErrorReply::new(
                    Code::Forbidden,
                    message,
                    "agentid run launches from outside of a run",
                ))
            }
            Ask::Host | Ask::Own | Ask::RunOf(_) if self.tagged => {
                let message = "the asking process belongs to a run, which may only ask who it is and what it was denied, delegate, and end itself";
                Err(ErrorReply::new(
                    Code::Tagged,
                    message,
                    "agentid delegate starts a run below it, where its policy has a [delegate]",
                ))
            }
            Ask::Host if self.operator => Ok(()),
            Ask::Host => Err(ErrorReply::new(
                Code::Forbidden,
                "this is for operators",
                "ask as root or as a member of the operators' group",
            )),
            Ask::Own => Ok(()),
            Ask::RunOf(uid) if self.sees(uid) => Ok(()),
            Ask::RunOf(_) => {
                let message = "the run belongs to another user";
                Err(ErrorReply::new(
                    Code::Forbidden,
                    message,
                    "ask as root or as a member of the operators' group",
                ))
            }
        }
    }

    /// Whether runs of this user exist for the caller.
    pub fn sees(&self, uid: u32) -> bool {
        !self.tagged && (self.operator || self.uid == uid)
    }

    /// The user to whose runs the caller's view is limited.
    pub fn limit(&self) -> Option<u32> {
        (!self.operator).then_some(self.uid)
    }
}

/// Reads who is at the other end of a connection. `operators` is the number of the operators' group.
pub fn identify(stream: &impl AsFd, operators: Option<u32>) -> Result<Caller, CallerError> {
    let fd = stream.as_fd();
    let peer = getsockopt(&fd, sockopt::PeerCredentials)
        .map_err(|errno| CallerError::Credentials(errno.into()))?;
    let process = match getsockopt(&fd, sockopt::PeerPidfd) {
        Ok(process) => process,
        // Before 6.5. Any other error is about this very process, such as that it is gone.
        Err(Errno::ENOPROTOOPT) => open(peer.pid())?,
        Err(errno) => {
            return Err(CallerError::Process { tgid: peer.pid(), source: errno.into() });
        }
    };
    let socket = fd.try_clone_to_owned().map_err(CallerError::Socket)?;
    let groups = groups(fd).map_err(CallerError::Credentials)?;
    let member = |group| peer.gid() == group || groups.contains(&group);
    Ok(Caller {
        uid: peer.uid(),
        account: account::of(peer.uid()),
        tgid: peer.pid().unsigned_abs(),
        operator: peer.uid() == 0 || operators.is_some_and(member),
        process,
        socket,
    })
}

/// What the kernel says of a caller's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub threads: usize,
    /// 0: none.
    pub tracer: u32,
    /// Whether a file can give it, or what it starts, more than it has (`PR_SET_NO_NEW_PRIVS`).
    pub may_gain: bool,
}

/// How a caller is; `None` when it is gone.
pub fn condition(caller: &Caller) -> Option<Condition> {
    let status = fs::read_to_string(format!("/proc/{}/status", caller.tgid)).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let threads = field("Threads:")?.trim().parse().ok()?;
    let tracer = field("TracerPid:")?.trim().parse().ok()?;
    let may_gain = field("NoNewPrivs:")?.trim() != "1";
    // Only a process that still lives has kept its number, and only then was the file its own.
    kernel::lives(caller.process()).then_some(Condition { threads, tracer, may_gain })
}

/// What a caller executes; `None` when it is gone.
pub fn executable(caller: &Caller) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{}/exe", caller.tgid)).ok()?;
    // For people: it is kept and shown as text.
    let path = PathBuf::from(path.to_string_lossy().into_owned());
    // As above.
    kernel::lives(caller.process()).then_some(path)
}

/// The command line of a process, for people only.
pub fn command_of(tgid: u32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{tgid}/cmdline")).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    Some(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

fn open(tgid: i32) -> Result<OwnedFd, CallerError> {
    let failed = |source| CallerError::Process { tgid, source };
    let pid = Pid::from_raw(tgid).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))
}

/// The peer's supplementary groups.
fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS];
    let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel writes at most `bytes` bytes to the buffer, which has that many, and then their number.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(usize::try_from(bytes).unwrap_or(0) / size_of::<u32>());
    Ok(groups)
}

/// Does this as a user who is no operator, whoever runs the tests.
#[cfg(test)]
pub(super) fn as_user<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    /// Somebody, but not root.
    const USER: u32 = 4711;
    std::thread::scope(|threads| {
        let user = threads.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                // SAFETY: takes three numbers, and changes this thread alone.
                let done = unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) };
                assert_eq!(done, 0);
            }
            what()
        });
        user.join().unwrap()
    })
}
