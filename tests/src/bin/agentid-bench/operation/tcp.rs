//! Operations on loopback TCP. The listener is the worker's own, so that no other process takes a turn in between.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::Act;
use crate::terrain::GRANTED_PORT;

const TRANSFER: usize = 64 << 10;
/// What is in neither of two buffers would be waited for without end.
const ROOM: usize = 2 * TRANSFER;

/// Connects and closes; what arrives at the listener is accepted after the batch.
pub fn connect(port: u16) -> Result<Box<dyn Act>> {
    let listener = listen(port)?;
    listener.set_nonblocking(true)?;
    Ok(Box::new(Connect { peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), listener }))
}

/// Writes one byte to a peer that reads after the batch.
pub fn write() -> Result<Box<dyn Act>> {
    let (near, far) = connected()?;
    Ok(Box::new(WriteByte { near, far, written: 0 }))
}

/// Writes as much as a program does at once that moves much, and takes it at the other end.
pub fn transfer() -> Result<Box<dyn Act>> {
    let (near, far) = connected()?;
    Ok(Box::new(Transfer { near, far, bytes: vec![b'x'; TRANSFER] }))
}

fn connected() -> Result<(TcpStream, TcpStream)> {
    let listener = listen(GRANTED_PORT)?;
    setsockopt(&listener, sockopt::RcvBuf, &ROOM).context("failed to make room")?;
    let near = TcpStream::connect(listener.local_addr()?).context("failed to connect")?;
    near.set_nodelay(true)?;
    setsockopt(&near, sockopt::SndBuf, &ROOM).context("failed to make room")?;
    let (far, _) = listener.accept().context("failed to accept")?;
    Ok((near, far))
}

fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("failed to listen on port {port}"))
}

struct Connect {
    peer: SocketAddrV4,
    listener: TcpListener,
}

impl Act for Connect {
    fn once(&mut self) -> Result<(), Errno> {
        TcpStream::connect(self.peer).map(drop).map_err(errno)
    }

    /// Takes the connections off the queue and resets them: one that is closed in order occupies its port for a
    /// minute, and each connect would search longer than the one before.
    fn clear(&mut self) -> Result<bool> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
                    setsockopt(&stream, sockopt::Linger, &reset)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error).context("failed to accept"),
            }
        }
    }
}

struct WriteByte {
    near: TcpStream,
    far: TcpStream,
    written: usize,
}

impl Act for WriteByte {
    fn once(&mut self) -> Result<(), Errno> {
        let written = self.near.write(b"x").map_err(errno)?;
        self.written += written;
        Ok(())
    }

    fn clear(&mut self) -> Result<bool> {
        let mut bytes = vec![0; self.written];
        // The kernel may leave the receiving half to a thread of its own; then it was not measured.
        self.far.set_nonblocking(true)?;
        let arrived = self.far.peek(&mut bytes).unwrap_or_default();
        self.far.set_nonblocking(false)?;
        self.far.read_exact(&mut bytes).context("failed to read what was written")?;
        ensure!(bytes.iter().all(|byte| *byte == b'x'), "other bytes arrived than were written");
        let complete = arrived == self.written;
        self.written = 0;
        Ok(complete)
    }
}

struct Transfer {
    near: TcpStream,
    far: TcpStream,
    bytes: Vec<u8>,
}

impl Act for Transfer {
    fn once(&mut self) -> Result<(), Errno> {
        self.near.write_all(&self.bytes).map_err(errno)?;
        self.far.read_exact(&mut self.bytes).map_err(errno)
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
