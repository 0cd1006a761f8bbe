//! One access, and its errno.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use agentid_tests::step::{Family, Open, Protocol};
use anyhow::{Context as _, Result};
use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

/// Loopback answers at once; what takes so long will not.
const PATIENCE: Duration = Duration::from_secs(100);

pub fn open(path: &Path, how: Open) -> i32 {
    let mut options = OpenOptions::new();
    match how {
        Open::Read => options.read(true),
        Open::Write => options.write(true),
        Open::Create => options.write(true).create_new(true),
    };
    errno(options.open(path))
}

/// Opens what is open once more.
pub fn open_again(kept: Option<&File>, how: Open) -> Result<i32> {
    let number = kept.context("no file is kept")?.as_raw_fd();
    Ok(open(Path::new(&format!("/proc/self/fd/{number}")), how))
}

/// Opens a file by a path from an open folder on.
pub fn open_below(kept: Option<&File>, path: &Path, how: Open) -> Result<i32> {
    let folder = kept.context("no folder is kept")?;
    let flags = match how {
        Open::Read => OFlag::O_RDONLY,
        Open::Write => OFlag::O_WRONLY,
        Open::Create => OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL,
    };
    let opened = openat(folder, path, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o666));
    Ok(errno(opened.map_err(io::Error::from)))
}

pub fn read(path: &Path) -> i32 {
    errno(File::open(path))
}

pub fn connect(to: SocketAddr, protocol: Protocol) -> i32 {
    match protocol {
        Protocol::Tcp => errno(TcpStream::connect_timeout(&to, PATIENCE)),
        Protocol::Udp => {
            let any: SocketAddr = match to {
                SocketAddr::V4(_) => ([0; 4], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            errno(UdpSocket::bind(any).and_then(|socket| {
                socket.connect(to)?;
                socket.send(&[0])
            }))
        }
    }
}

pub fn connect_short(family: Family, length: u32) -> i32 {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    // SAFETY: plain integers; an empty address is all zeros.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    address.ss_family = family as libc::sa_family_t;
    // SAFETY: plain integers.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return last();
    }
    // SAFETY: the call has just made the descriptor, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let length = length.min(size_of_val(&address) as u32);
    // SAFETY: `length` is within `address`.
    if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
        return last();
    }
    0
}

/// Why the last call of the C library failed.
pub fn last() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// 0, or why it did not work.
pub fn errno<T>(outcome: io::Result<T>) -> i32 {
    match outcome {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    }
}
