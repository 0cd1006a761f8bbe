//! Ends connections that their processes have closed, and that the kernel keeps because something on them is unsent.
//!
//! Of a run that is over nothing more is sent, so whoever is at the other end would find out by his own time-out. No process
//! has such a socket, so it cannot be taken from one: the kernel is asked to reset it, by `SOCK_DESTROY`
//! (net/ipv4/inet_diag.c: `inet_diag_handler_cmd`; net/ipv4/tcp.c: `tcp_abort`). Before Linux 6.12, and in older releases of
//! the long-term kernels, that would leave a closed socket for ever instead, and is not asked for. Its module is `tcp_diag`,
//! which the kernel loads when it is asked. Whoever has been told of the other end's end and is still to be told of this one
//! (`LAST_ACK`, `CLOSING`) the kernel tells nothing either way.
//!
//! Never asked for a socket that somebody has: the kernel would wait for whoever is in a call on it, with a lock held that
//! everyone needs who lists sockets.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::LazyLock,
    time::{Duration, Instant},
};

use agentid_common::{
    net::TCP,
    record::SocketLine,
    socket::{AF_INET, AF_INET6},
};
use nix::sys::{
    socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
    utsname::uname,
};

use super::{sockets::EndedConnections, tasks::ReadError};

/// include/net/tcp_states.h: the states of what was closed and is not over.
mod state {
    pub const FIN_WAIT1: u16 = 4;
    pub const FIN_WAIT2: u16 = 5;
}

/// include/uapi/linux/sock_diag.h
const SOCK_DESTROY: u16 = 21;
/// The length of a request: `struct nlmsghdr` and `struct inet_diag_req_v2` (include/uapi/linux/netlink.h, inet_diag.h).
const REQUEST: u32 = 16 + 56;
/// Of the answer: `struct nlmsghdr`, and the error in front of `struct nlmsgerr`.
const ANSWER: usize = 16 + 4;

#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    #[error("read the list of sockets")]
    Sockets(#[from] ReadError),
    #[error("end a connection that no process has")]
    End(#[source] io::Error),
}

/// Whether this is a connection that nobody has, and that the other end may not have heard of the end of.
fn is_orphan(line: &SocketLine) -> bool {
    let is_closed = matches!(line.state, state::FIN_WAIT1 | state::FIN_WAIT2);
    let is_tcp = matches!(line.family, AF_INET | AF_INET6) && line.protocol == u16::from(TCP);
    // A connection that waits to be accepted has no process either, but may get one.
    line.orphan != 0 && is_closed && is_tcp
}

/// Whether this kernel resets what is closed, by what it says of itself: its version, and the release that a distribution
/// calls otherwise.
fn resets_orphans(release: &str, version: &str) -> bool {
    /// The first release that does, and the ones of long-term kernels with which it was tried.
    const FROM: (u32, u32) = (6, 12);
    const LONG_TERM: [(u32, u32, u32); 1] = [(6, 1, 176)];
    let numbers = |text: &str| -> Option<(u32, u32, u32)> {
        let mut parts =
            text.split(|sign: char| !sign.is_ascii_digit()).map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or_default()))
    };
    let Some(own) = numbers(release) else { return false };
    let of_long_term = |(major, minor, least): &(u32, u32, u32)| {
        let mut known = version.split_whitespace().chain([release]).filter_map(numbers);
        known.any(|it| (it.0, it.1) == (*major, *minor) && it.2 >= *least)
    };
    (own.0, own.1) >= FROM || LONG_TERM.iter().any(of_long_term)
}

/// How long one look may take: others wait.
const PATIENCE: Duration = Duration::from_millis(10);

/// Ends those of them that are orphans; gives how many of each slot's.
pub fn end(lines: &[SocketLine]) -> Result<BTreeMap<u32, EndedConnections>, OrphanError> {
    static RESETS: LazyLock<bool> = LazyLock::new(|| {
        let Ok(own) = uname() else { return false };
        resets_orphans(&own.release().to_string_lossy(), &own.version().to_string_lossy())
    });
    let mut ended = BTreeMap::new();
    let mut orphans = lines.iter().filter(|line| is_orphan(line)).peekable();
    if orphans.peek().is_none() || !*RESETS {
        return Ok(ended);
    }
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    );
    let kernel = kernel.map_err(|error| OrphanError::End(error.into()))?;
    let (begun, mut outcome) = (Instant::now(), Ok(()));
    for line in orphans.take_while(|_| begun.elapsed() < PATIENCE) {
        match end_one(&kernel, line) {
            Ok(true) => EndedConnections::add(&mut ended, line.slot),
            Ok(false) => {}
            Err(error) => outcome = Err(OrphanError::End(error)),
        }
    }
    outcome.map(|()| ended)
}

/// False when it is gone by itself, or of another network namespace.
fn end_one(kernel: &OwnedFd, line: &SocketLine) -> io::Result<bool> {
    send(kernel.as_raw_fd(), &request(line), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let error = answer.get(..length).and_then(error).ok_or(io::ErrorKind::InvalidData)?;
    match error.wrapping_neg() {
        0 => Ok(true),
        // By another cookie it is another one.
        libc::ENOENT | libc::ESTALE => Ok(false),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn request(line: &SocketLine) -> Vec<u8> {
    const REQUEST_AND_ACK: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut bytes = Vec::with_capacity(REQUEST as usize);
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(SOCK_DESTROY.to_ne_bytes());
    bytes.extend(REQUEST_AND_ACK.to_ne_bytes());
    // Neither its number nor ours is needed: one is answered before the next.
    bytes.extend([0; 8]);
    bytes.extend([line.family as u8, line.protocol as u8, 0, 0]);
    bytes.extend([0; 4]);
    bytes.extend(line.own_port.to_be_bytes());
    bytes.extend(line.peer_port.to_be_bytes());
    bytes.extend(address(line.family, &line.own.0));
    bytes.extend(address(line.family, &line.peer.0));
    bytes.extend(line.device.to_ne_bytes());
    // The lower half comes first (net/core/sock_diag.c: `sock_diag_check_cookie`).
    bytes.extend((line.cookie as u32).to_ne_bytes());
    bytes.extend(((line.cookie >> 32) as u32).to_ne_bytes());
    bytes
}

/// The kernel's form of an address; ours is always one of IPv6.
fn address(family: u16, ours: &[u8; 16]) -> [u8; 16] {
    let mut theirs = *ours;
    if family == AF_INET {
        theirs.rotate_left(12);
        theirs[4..].fill(0);
    }
    theirs
}

fn error(answer: &[u8]) -> Option<i32> {
    let error = answer.get(ANSWER - 4..ANSWER)?;
    Some(i32::from_ne_bytes(error.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use agentid_common::net::Address;

    use super::*;

    fn closed() -> SocketLine {
        SocketLine {
            cookie: 0x0102_0304_0506_0708,
            own: Address::v4([127, 0, 0, 1]),
            peer: Address::v4([10, 0, 0, 2]),
            own_port: 0x1234,
            peer_port: 443,
            family: AF_INET,
            kind: 1,
            protocol: 6,
            state: state::FIN_WAIT1,
            device: 3,
            orphan: 1,
            ..SocketLine::default()
        }
    }

    #[test]
    fn a_request_has_the_form_of_the_kernel() {
        let bytes = request(&closed());
        assert_eq!(bytes.len(), REQUEST as usize);
        assert_eq!(bytes[16..20], [2, 6, 0, 0]);
        assert_eq!(bytes[24..28], [0x12, 0x34, 0x01, 0xbb]);
        assert_eq!(bytes[28..32], [127, 0, 0, 1]);
        assert_eq!(bytes[32..44], [0; 12]);
        assert_eq!(bytes[44..48], [10, 0, 0, 2]);
        assert_eq!(bytes[60..64], 3_u32.to_ne_bytes());
        assert_eq!(bytes[64..68], 0x0506_0708_u32.to_ne_bytes());
        assert_eq!(bytes[68..72], 0x0102_0304_u32.to_ne_bytes());
        let v6 = SocketLine { family: AF_INET6, ..closed() };
        assert_eq!(request(&v6)[28..44], Address::v4([127, 0, 0, 1]).0);
    }

    #[test]
    fn what_somebody_has_is_no_orphan() {
        const ESTABLISHED: u16 = 1;
        assert!(is_orphan(&closed()));
        for other in [
            SocketLine { orphan: 0, ..closed() },
            SocketLine { state: ESTABLISHED, ..closed() },
            SocketLine { protocol: 17, ..closed() },
            SocketLine { family: 1, ..closed() },
        ] {
            assert!(!is_orphan(&other), "{other:?}");
        }
    }

    #[test]
    fn only_kernels_that_reset_what_is_closed_are_asked_to() {
        for (release, version, resets) in [
            ("6.12.117+deb13-cloud-amd64", "#1 SMP Debian 6.12.117-1 (2026-10-02)", true),
            ("7.3.4+deb13-cloud-amd64", "#1 SMP Debian 7.3.4-1", true),
            ("6.1.0-56-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-09-01)", true),
            ("6.1.176", "#1 SMP", true),
            ("6.1.0-25-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3 (2024-08-26)", false),
            ("6.6.40", "#1 SMP", false),
            ("6.8.0-45-generic", "#45-Ubuntu SMP", false),
            ("unknown", "", false),
        ] {
            assert_eq!(resets_orphans(release, version), resets, "{release} {version}");
        }
    }

    #[test]
    fn an_answer_that_is_too_short_is_none() {
        let mut answer = [0; ANSWER];
        answer[16..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(error(&answer), Some(-libc::ENOENT));
        assert_eq!(error(&answer[..ANSWER - 1]), None);
    }
}
