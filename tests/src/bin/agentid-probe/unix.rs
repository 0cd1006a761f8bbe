//! Conversations on unix sockets.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
};

use agentid_tests::step::{Kind, Name, Outcome, Unix};

use crate::{
    access::{errno, last},
    inherit::not_tried,
    ring,
    talk::Talk,
};

/// What the test has handed over.
const THERE: RawFd = libc::STDERR_FILENO;

pub fn perform(step: &Unix, talk: &mut Talk) -> Outcome {
    Outcome::Errno(match step {
        Unix::Connect { to, kind } => status(socket(*kind).and_then(|it| connect(&it, to))),
        Unix::ConnectByRing(to) => {
            return match socket(Kind::Stream) {
                Ok(it) => connect_by_ring(&it, to),
                Err(errno) => Outcome::Errno(errno),
            };
        }
        Unix::SendTo(to) => status(socket(Kind::Datagram).and_then(|it| send_to(&it, to))),
        Unix::Own { name, kind } => status(own(name, *kind)),
        Unix::Listen(name) => match listen(name) {
            Ok(it) => talk.keep(it),
            Err(errno) => errno,
        },
        Unix::Pair(kind) => status(pair(*kind)),
        Unix::SendHanded => {
            // SAFETY: one byte of a constant.
            if unsafe { libc::send(THERE, b"x".as_ptr().cast(), 1, libc::MSG_NOSIGNAL) } < 0 {
                last()
            } else {
                0
            }
        }
        Unix::Make => status(socket(Kind::Stream)),
        Unix::Call(to) => {
            let connected = socket(Kind::Stream).and_then(|it| connect(&it, to).map(|()| it));
            match connected {
                Ok(it) => talk.keep(it),
                Err(errno) => errno,
            }
        }
    })
}

fn connect_by_ring(socket: &OwnedFd, to: &Name) -> Outcome {
    let to = address(to);
    match ring::connect(socket.as_raw_fd(), to.as_ptr().cast(), to.len() as u32) {
        Ok(result) => Outcome::Errno(-result),
        Err(call) => not_tried(&call, last()),
    }
}

fn status<T>(done: Result<T, i32>) -> i32 {
    done.err().unwrap_or(0)
}

const fn number(kind: Kind) -> i32 {
    match kind {
        Kind::Stream => libc::SOCK_STREAM,
        Kind::Packets => libc::SOCK_SEQPACKET,
        Kind::Datagram => libc::SOCK_DGRAM,
    }
}

fn socket(kind: Kind) -> Result<OwnedFd, i32> {
    // SAFETY: plain integers.
    taken(unsafe { libc::socket(libc::AF_UNIX, number(kind) | libc::SOCK_CLOEXEC, 0) })
}

fn taken(descriptor: RawFd) -> Result<OwnedFd, i32> {
    if descriptor < 0 {
        return Err(last());
    }
    // SAFETY: the call has just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `struct sockaddr_un`, as long as it need be.
fn address(name: &Name) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    match name {
        Name::Path(path) => {
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        Name::Abstract(name) => {
            bytes.push(0);
            bytes.extend_from_slice(name.as_bytes());
        }
        Name::Chosen => {}
    }
    bytes
}

fn connect(socket: &OwnedFd, to: &Name) -> Result<(), i32> {
    let address = address(to);
    // SAFETY: the address is of the given length.
    let failed =
        unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    if failed < 0 { Err(last()) } else { Ok(()) }
}

fn bind(socket: &OwnedFd, name: &Name) -> Result<(), i32> {
    let address = address(name);
    // SAFETY: the address is of the given length.
    let failed =
        unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    if failed < 0 { Err(last()) } else { Ok(()) }
}

fn send_to(socket: &OwnedFd, to: &Name) -> Result<(), i32> {
    let address = address(to);
    // SAFETY: one byte of a constant; the address is of the given length.
    let sent = unsafe {
        let (there, length) = (address.as_ptr().cast(), address.len() as u32);
        libc::sendto(socket.as_raw_fd(), b"x".as_ptr().cast(), 1, 0, there, length)
    };
    if sent < 0 { Err(last()) } else { Ok(()) }
}

fn listen(name: &Name) -> Result<OwnedFd, i32> {
    let it = socket(Kind::Stream)?;
    bind(&it, name)?;
    // SAFETY: plain integers.
    if unsafe { libc::listen(it.as_raw_fd(), 8) } < 0 { Err(last()) } else { Ok(it) }
}

fn own(name: &Name, kind: Kind) -> Result<(), i32> {
    let (here, there) = (socket(kind)?, socket(kind)?);
    bind(&there, name)?;
    if kind == Kind::Datagram {
        send_to(&here, name)?;
        connect(&here, name)?;
        return pass(here, there);
    }
    // SAFETY: plain integers.
    if unsafe { libc::listen(there.as_raw_fd(), 1) } < 0 {
        return Err(last());
    }
    connect(&here, name)?;
    // SAFETY: no address is asked for.
    let accepted = unsafe {
        libc::accept4(
            there.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC,
        )
    };
    pass(here, taken(accepted)?)
}

fn pair(kind: Kind) -> Result<(), i32> {
    let mut both = [0; 2];
    let kind = number(kind) | libc::SOCK_CLOEXEC;
    // SAFETY: the call writes two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, both.as_mut_ptr()) } < 0 {
        return Err(last());
    }
    let [one, other] = both;
    pass(taken(one)?, taken(other)?)
}

/// One byte from one to the other.
fn pass(from: OwnedFd, to: OwnedFd) -> Result<(), i32> {
    let mut byte = [0];
    let (mut from, mut to) = (File::from(from), File::from(to));
    match errno(from.write_all(b"x").and_then(|()| to.read_exact(&mut byte))) {
        0 => Ok(()),
        errno => Err(errno),
    }
}
