//! Calls on sockets.

use std::{
    collections::BTreeMap,
    mem::zeroed,
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr::null_mut,
};

use agentid_tests::step::{Act, By, Call, Carry, SockAddr};
use anyhow::{Result, anyhow, ensure};
use nix::{
    poll::{PollFd, PollFlags, poll},
    sys::socket::{MsgFlags, SockaddrStorage, getsockname, recv},
};

use crate::{access, ring};

/// The sockets by their numbers.
#[derive(Default)]
pub struct Sockets(BTreeMap<usize, OwnedFd>);

impl Sockets {
    pub fn perform(&mut self, calls: &[Call]) -> Result<Vec<i32>> {
        calls.iter().map(|call| self.call(call)).collect()
    }

    /// The errno, 0 for success; of a socket that could not be made, that of a descriptor that is none.
    fn call(&mut self, call: &Call) -> Result<i32> {
        let socket = self.0.get(&call.on).map_or(-1, |socket| socket.as_raw_fd());
        Ok(match &call.what {
            Act::Make { family, kind, protocol, by } => {
                self.0.remove(&call.on);
                let kind = kind | libc::SOCK_CLOEXEC;
                let made = match by {
                    // SAFETY: takes plain integers.
                    By::Call => result(unsafe { libc::socket(*family, kind, *protocol) }),
                    By::Ring => ring::socket(*family, kind, *protocol).map_err(|it| anyhow!(it))?,
                };
                self.keep(call.on, made)
            }
            // SAFETY: takes a descriptor.
            Act::Adopt => self.keep(call.on, result(unsafe { libc::dup(libc::STDERR_FILENO) })),
            Act::Connect { to, by } => {
                let (address, length) = raw(*to);
                let address = (&raw const address).cast();
                match by {
                    // SAFETY: the length is within the address.
                    By::Call => errno(unsafe { libc::connect(socket, address, length) }),
                    By::Ring => {
                        let done = ring::connect(socket, address, length);
                        -done.map_err(|it| anyhow!(it))?
                    }
                }
            }
            Act::Bind(to) => {
                let (address, length) = raw(*to);
                // SAFETY: as above.
                errno(unsafe { libc::bind(socket, (&raw const address).cast(), length) })
            }
            // SAFETY: takes plain integers.
            Act::Listen => errno(unsafe { libc::listen(socket, 8) }),
            Act::Accept => accept(socket),
            Act::Send { to, flags, carry, by } => {
                Message::new(*to, carry).send(socket, *flags, *by)?
            }
            Act::Echo { to } => echo(socket, *to)?,
            Act::SendTwo { to, carry } => send_two(socket, *to, carry),
            Act::Set { level, option, value } => {
                let (value, length) = (value.as_ptr().cast(), value.len() as u32);
                // SAFETY: the length is that of the value.
                errno(unsafe { libc::setsockopt(socket, *level, *option, value, length) })
            }
            Act::Port => port(socket),
        })
    }

    fn keep(&mut self, number: usize, made: i32) -> i32 {
        if made < 0 {
            return -made;
        }
        // SAFETY: the call has just made the descriptor, and nobody else has it.
        self.0.insert(number, unsafe { OwnedFd::from_raw_fd(made) });
        0
    }
}

/// What a call returned, or the negative errno.
fn result(returned: i32) -> i32 {
    if returned < 0 { -access::last() } else { returned }
}

fn errno(returned: i32) -> i32 {
    -result(returned).min(0)
}

/// Most that an address takes; one for IPv6 is shorter.
fn raw(name: SockAddr) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: plain integers.
    let mut room: libc::sockaddr_in6 = unsafe { zeroed() };
    let length = match name.at {
        SocketAddr::V4(at) => {
            let place = (&raw mut room).cast::<libc::sockaddr_in>();
            // SAFETY: the address for IPv4 is shorter and needs no more alignment.
            unsafe {
                (*place).sin_family = libc::AF_INET as libc::sa_family_t;
                (*place).sin_port = at.port().to_be();
                (*place).sin_addr.s_addr = u32::from(*at.ip()).to_be();
            }
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(at) => {
            room.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            room.sin6_port = at.port().to_be();
            room.sin6_addr.s6_addr = at.ip().octets();
            room.sin6_scope_id = at.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    if let Some(family) = name.family {
        room.sin6_family = family;
    }
    (room, length as libc::socklen_t)
}

fn accept(socket: RawFd) -> i32 {
    // SAFETY: plain system calls; the descriptor that comes is nobody else's.
    unsafe {
        let flags = libc::fcntl(socket, libc::F_GETFL);
        libc::fcntl(socket, libc::F_SETFL, flags | libc::O_NONBLOCK);
        let made = libc::accept4(socket, null_mut(), null_mut(), libc::SOCK_CLOEXEC);
        if made >= 0 {
            drop(OwnedFd::from_raw_fd(made));
        }
        errno(made)
    }
}

fn port(socket: RawFd) -> i32 {
    // SAFETY: plain integers.
    let mut room: libc::sockaddr_in6 = unsafe { zeroed() };
    let mut length = size_of_val(&room) as libc::socklen_t;
    // SAFETY: the length is that of the room. The port lies at one place in both families.
    unsafe { libc::getsockname(socket, (&raw mut room).cast(), &raw mut length) };
    i32::from(u16::from_be(room.sin6_port))
}

/// A message of one byte, or of some, with all that its header points to.
struct Message {
    name: Option<(libc::sockaddr_in6, libc::socklen_t)>,
    control: Vec<u64>,
    length: usize,
    bytes: Vec<u8>,
}

impl Message {
    fn new(to: Option<SockAddr>, carry: &[Carry]) -> Self {
        let mut bytes = Vec::new();
        for piece in carry {
            bytes.extend((16 + piece.data.len() as u64).to_ne_bytes());
            bytes.extend(piece.level.to_ne_bytes());
            bytes.extend(piece.kind.to_ne_bytes());
            bytes.extend(&piece.data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let word = |chunk: &[u8]| u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
        let control = bytes.chunks_exact(8).map(word).collect();
        Self { name: to.map(raw), control, length: bytes.len(), bytes: vec![b'x'] }
    }

    /// Calls with a header that points to the message, which must not move meanwhile.
    fn with<T>(&mut self, call: impl FnOnce(libc::msghdr) -> T) -> T {
        let mut part =
            libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() };
        // SAFETY: integers and pointers, of which zero means "none".
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if let Some((address, length)) = &mut self.name {
            header.msg_name = (&raw mut *address).cast();
            header.msg_namelen = *length;
        }
        if self.length > 0 {
            header.msg_control = self.control.as_mut_ptr().cast();
            header.msg_controllen = self.length;
        }
        call(header)
    }

    fn send(mut self, socket: RawFd, flags: i32, by: By) -> Result<i32> {
        let flags = flags | libc::MSG_NOSIGNAL;
        self.with(|header| match by {
            By::Call => {
                // SAFETY: the header's pointers are to room of the lengths that it tells.
                let sent = unsafe { libc::sendmsg(socket, &raw const header, flags) };
                Ok(if sent < 0 { access::last() } else { 0 })
            }
            By::Ring => {
                let sent = ring::send(socket, &raw const header, flags);
                Ok(-sent.map_err(|it| anyhow!(it))?.min(0))
            }
        })
    }
}

/// The type of a request and that of its answer: ICMP's (RFC 792) and ICMPv6's (RFC 4443).
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// What the answer brings back.
const ECHOED: &[u8] = b"are you there?";
const PATIENCE: u16 = 60_000;

/// The errno of the request, or 0 when it was sent and its answer has come.
fn echo(socket: RawFd, to: Option<SockAddr>) -> Result<i32> {
    // SAFETY: the descriptor is open as long as the call takes.
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket) };
    let own: SockaddrStorage = getsockname(socket)?;
    let (request, answer) = if own.as_sockaddr_in().is_some() { ECHO_V4 } else { ECHO_V6 };
    let mut message = Message::new(to, &[]);
    // The kernel fills in the sum and its own number for the socket.
    message.bytes = [&[request, 0, 0, 0, 0, 0, 0, 1], ECHOED].concat();
    let sent = message.send(socket, 0, By::Call)?;
    if sent != 0 {
        return Ok(sent);
    }
    let mut ready = [PollFd::new(descriptor, PollFlags::POLLIN)];
    ensure!(poll(&mut ready, PATIENCE)? == 1, "no answer has come");
    let mut room = [0; 64];
    let length = recv(socket, &mut room, MsgFlags::empty())?;
    let came = room.get(..length).unwrap_or_default();
    ensure!(came.first() == Some(&answer) && came.ends_with(ECHOED), "{came:?} has come");
    Ok(0)
}

/// The errno of the batch; `EIO` when only the first was sent.
fn send_two(socket: RawFd, to: Option<SockAddr>, carry: &[Carry]) -> i32 {
    let (mut first, mut second) = (Message::new(to, &[]), Message::new(to, carry));
    first.with(|first| {
        second.with(|second| {
            let entry = |header| libc::mmsghdr { msg_hdr: header, msg_len: 0 };
            let mut both = [entry(first), entry(second)];
            let flags = libc::MSG_NOSIGNAL as _;
            // SAFETY: the headers' pointers are to room of the lengths that they tell.
            match unsafe { libc::sendmmsg(socket, both.as_mut_ptr(), 2, flags) } {
                2 => 0,
                0 | 1 => libc::EIO,
                _ => access::last(),
            }
        })
    })
}
