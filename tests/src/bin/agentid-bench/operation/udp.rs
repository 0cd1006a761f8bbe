//! Operations on loopback UDP. Both sockets are the worker's own, as for TCP.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use super::Act;
use crate::terrain::GRANTED_PORT;

/// Sends one byte to an address that the message names; it is received after the batch.
pub fn send() -> Result<Box<dyn Act>> {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to make a socket")?;
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, GRANTED_PORT))
        .with_context(|| format!("failed to bind port {GRANTED_PORT}"))?;
    far.set_nonblocking(true)?;
    let peer = far.local_addr()?;
    Ok(Box::new(Send { near, far, peer, sent: 0 }))
}

struct Send {
    near: UdpSocket,
    far: UdpSocket,
    peer: SocketAddr,
    sent: usize,
}

impl Act for Send {
    fn once(&mut self) -> Result<(), Errno> {
        let sent = self.near.send_to(b"x", self.peer);
        self.sent +=
            sent.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        Ok(())
    }

    fn clear(&mut self) -> Result<bool> {
        let mut arrived = 0;
        let outcome = loop {
            match self.far.recv(&mut [0]) {
                Ok(length) => arrived += length,
                Err(error) => break error,
            }
        };
        if outcome.kind() != ErrorKind::WouldBlock {
            return Err(outcome).context("failed to receive what was sent");
        }
        // The kernel may leave the receiving half to a thread of its own; then it was not measured, and comes later.
        let complete = arrived == self.sent;
        self.sent = self.sent.saturating_sub(arrived);
        Ok(complete)
    }
}
