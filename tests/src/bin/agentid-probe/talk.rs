//! A conversation that lasts.

use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use agentid_tests::step::Protocol;

use crate::access::{errno, last};

const PATIENCE: Duration = Duration::from_secs(100);

/// The socket that is kept, and the one that waits for a caller.
#[derive(Default)]
pub struct Talk {
    socket: Option<OwnedFd>,
    listener: Option<TcpListener>,
}

impl Talk {
    pub fn keep(&mut self, socket: OwnedFd) -> i32 {
        self.socket = Some(socket);
        0
    }

    pub fn call(&mut self, to: SocketAddr, protocol: Protocol) -> i32 {
        let socket = match protocol {
            Protocol::Tcp => TcpStream::connect_timeout(&to, PATIENCE).map(OwnedFd::from),
            Protocol::Udp => {
                let any: SocketAddr = match to {
                    SocketAddr::V4(_) => ([0; 4], 0).into(),
                    SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
                };
                let socket = UdpSocket::bind(any);
                socket.and_then(|socket| socket.connect(to).map(|()| socket.into()))
            }
        };
        match socket {
            Ok(socket) => self.keep(socket),
            Err(error) => errno::<()>(Err(error)),
        }
    }

    pub fn answer(&mut self, at: SocketAddr) -> i32 {
        match TcpListener::bind(at) {
            Ok(listener) => {
                self.listener = Some(listener);
                0
            }
            Err(error) => errno::<()>(Err(error)),
        }
    }

    /// Takes the caller, and waits for no other. Its socket was made by nobody's call.
    pub fn pick_up(&mut self) -> i32 {
        let Some(listener) = self.listener.take() else { return libc::EINVAL };
        match listener.accept() {
            Ok((stream, _)) => self.keep(stream.into()),
            Err(error) => errno::<()>(Err(error)),
        }
    }

    pub fn say(&self) -> i32 {
        self.send(b"x", 0)
    }

    pub fn flood(&self) -> i32 {
        let bytes = [b'x'; 4096];
        loop {
            match self.send(&bytes, libc::MSG_DONTWAIT) {
                0 => {}
                libc::EAGAIN => return 0,
                errno => return errno,
            }
        }
    }

    fn send(&self, bytes: &[u8], flags: libc::c_int) -> i32 {
        let Some(socket) = &self.socket else { return libc::ENOTSOCK };
        let flags = flags | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes are of the given length.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        if sent < 0 { last() } else { 0 }
    }

    /// What is there is left there.
    pub fn hear(&self) -> i32 {
        let Some(socket) = &self.socket else { return libc::ENOTSOCK };
        let (mut byte, flags) = (0_u8, libc::MSG_DONTWAIT | libc::MSG_PEEK);
        // SAFETY: there is room for one byte.
        let heard = unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
        if heard < 0 { last() } else { 0 }
    }
}
