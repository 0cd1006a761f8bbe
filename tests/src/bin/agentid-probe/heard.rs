//! Sockets to which much has come before a run ends, and what can be taken of it afterwards.

use std::{
    io::{self, Write as _},
    mem::zeroed,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixStream,
    },
    ptr::null_mut,
};

use agentid_tests::step::Use;

use crate::ring::Lasting;

/// More than what all uses of a test take.
const BYTES: usize = 100;

/// The end that has heard, and the one that has spoken.
pub struct Heard {
    unix: [UnixStream; 2],
    tcp: [TcpStream; 2],
    udp: [UdpSocket; 2],
    ring: Lasting,
}

impl Heard {
    pub fn new() -> io::Result<Self> {
        let here = (Ipv4Addr::LOCALHOST, 0);
        let (near, far) = UnixStream::pair()?;
        (&far).write_all(&[0; BYTES])?;
        let listener = TcpListener::bind(here)?;
        let caller = TcpStream::connect(listener.local_addr()?)?;
        let (called, _) = listener.accept()?;
        (&caller).write_all(&[0; BYTES])?;
        let (hears, speaks) = (UdpSocket::bind(here)?, UdpSocket::bind(here)?);
        speaks.connect(hears.local_addr()?)?;
        for _ in 0..BYTES {
            speaks.send(&[0])?;
        }
        let udp = [hears, speaks];
        Ok(Self { unix: [near, far], tcp: [called, caller], udp, ring: Lasting::new()? })
    }

    /// `None` when it is not about sockets that have heard.
    pub fn take(&self, it: Use) -> Option<io::Result<()>> {
        let unix = self.unix[0].as_raw_fd();
        Some(match it {
            Use::ReceiveUnix => receive(unix),
            Use::ReceiveTcp => receive(self.tcp[0].as_raw_fd()),
            Use::ReceiveUdp => receive(self.udp[0].as_raw_fd()),
            Use::ReceiveMany => receive_many(self.udp[0].as_raw_fd()),
            Use::ReceiveByRing => self.ring.receive(unix),
            Use::AskSocket => ask(unix),
            _ => return None,
        })
    }
}

fn number(result: isize) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive(socket: RawFd) -> io::Result<()> {
    let mut byte = 0_u8;
    // SAFETY: there is room for one byte.
    number(unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, libc::MSG_DONTWAIT) })
}

fn receive_many(socket: RawFd) -> io::Result<()> {
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: integers and pointers, of which zero means "none".
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    let mut both = [header; 2].map(|header| libc::mmsghdr { msg_hdr: header, msg_len: 0 });
    let flags = libc::MSG_DONTWAIT as _;
    // SAFETY: the headers' pointers are to room of the lengths that they tell.
    number(unsafe { libc::recvmmsg(socket, both.as_mut_ptr(), 2, flags, null_mut()) } as isize)
}

fn ask(socket: RawFd) -> io::Result<()> {
    let mut kind: libc::c_int = 0;
    let mut length = size_of_val(&kind) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_TYPE);
    let room = (&raw mut kind).cast();
    // SAFETY: the length is that of the room.
    number(unsafe { libc::getsockopt(socket, level, option, room, &raw mut length) } as isize)
}
