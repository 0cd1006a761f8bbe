//! Somebody to talk to: a listener on each loopback address.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result, ensure};

use super::{settle::settle, wait};

/// Ports that `fixture` grants.
const GRANTED: std::ops::Range<u16> = 20_000..30_000;
/// Ports that it does not.
const DENIED: std::ops::Range<u16> = 30_000..40_000;
/// Ports to which `network` lets messages with an address go, and nothing else.
const SENT_TO: std::ops::Range<u16> = 40_000..41_000;

/// TCP and UDP sockets at one port of 127.0.0.1 and ::1.
pub struct Peer {
    port: u16,
    _listeners: [TcpListener; 2],
    sockets: [UdpSocket; 2],
}

impl Peer {
    /// A peer that `fixture` grants.
    pub fn granted() -> Result<Self> {
        Self::listen(GRANTED)
    }

    /// A peer that nothing grants.
    pub fn denied() -> Result<Self> {
        Self::listen(DENIED)
    }

    /// A peer to which `network` grants `send` alone.
    pub fn sent_to() -> Result<Self> {
        Self::listen(SENT_TO)
    }

    fn listen(ports: std::ops::Range<u16>) -> Result<Self> {
        ports.into_iter().find_map(|port| Self::at(port).ok()).context("no port is free")
    }

    fn at(port: u16) -> std::io::Result<Self> {
        let listener = |address| TcpListener::bind(address);
        let socket = |address| UdpSocket::bind(address);
        let (v4, v6) = (v4(port), v6(port));
        Ok(Self {
            port,
            _listeners: [listener(v4)?, listener(v6)?],
            sockets: [quiet(socket(v4)?)?, quiet(socket(v6)?)?],
        })
    }

    /// That so many messages have come since this was asked, and no more: waits for them, and for one of its own behind
    /// them at each address.
    pub fn hears(&self, count: usize) -> Result<()> {
        settle()?;
        for socket in &self.sockets {
            socket.send_to(b"mark", socket.local_addr()?).context("failed to send a mark")?;
        }
        let (mut marks, mut heard) = (0, 0);
        wait::until(&format!("{count} messages have come"), wait::SOON, || {
            for socket in &self.sockets {
                let own = socket.local_addr()?;
                while let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
                    *if from == own { &mut marks } else { &mut heard } += 1;
                }
            }
            Ok((marks == self.sockets.len() && heard >= count).then_some(()))
        })
        .with_context(|| format!("{heard} messages and {marks} marks have come"))?;
        ensure!(heard == count, "{heard} messages have come instead of {count}");
        Ok(())
    }

    pub fn v4(&self) -> SocketAddr {
        v4(self.port)
    }

    pub fn v6(&self) -> SocketAddr {
        v6(self.port)
    }

    /// The IPv4 address as IPv6 writes it.
    pub fn mapped(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), self.port).into()
    }

    /// All three.
    pub fn addresses(&self) -> [SocketAddr; 3] {
        [self.v4(), self.v6(), self.mapped()]
    }
}

/// A socket that does not wait.
fn quiet(socket: UdpSocket) -> std::io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn v6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}
