//! Answers questions for names at the loopback addresses, for runs alone.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use agentid_common::net::{TCP, UDP};
use hickory_proto::op::{Edns, ResponseCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, error};

use super::{
    Request,
    reply::{Handler, PAYLOADS, read, written},
    upstream::Upstream,
};

/// Ports that only root can take, and that nothing is registered for (IANA's registry of ports). An earlier daemon's comes
/// first: connections of runs may lead there.
const PORTS: RangeInclusive<u16> = 1002..=1009;
/// How long a connection may say nothing, and how long it may take to read an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to ask its first question.
const FIRST: Duration = Duration::from_secs(2);
/// Connections at a time, of all runs; those that come while there are as many are closed.
const CONNECTIONS: usize = 512;
/// Questions in one connection; a program that has more makes another.
const QUESTIONS: usize = 64;
/// Questions that are worked on at a time; of more nothing is heard.
const AT_ONCE: usize = 2048;
/// Longest question over UDP, in bytes.
const LONGEST: usize = 4096;
/// How long to wait with a socket that has failed, before it is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets, of both families as far as the host has them.
pub struct Server {
    port: u16,
    datagrams: Vec<UdpSocket>,
    listeners: Vec<TcpListener>,
}

impl Server {
    /// Takes the port of an earlier daemon, or the first that is free.
    pub async fn bind(earlier: u16) -> io::Result<Self> {
        let mut outcome = Err(io::ErrorKind::AddrInUse.into());
        for port in std::iter::once(earlier).filter(|port| *port != 0).chain(PORTS) {
            outcome = Self::at(port).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn at(port: u16) -> io::Result<Self> {
        let mut server = Self { port, datagrams: Vec::new(), listeners: Vec::new() };
        let families: [SocketAddr; 2] =
            [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        for address in families {
            match UdpSocket::bind(address).await {
                Ok(socket) => server.datagrams.push(socket),
                // The host has no IPv6.
                Err(error) if address.is_ipv6() && is_absent(&error) => continue,
                Err(error) => return Err(error),
            }
            server.listeners.push(TcpListener::bind(address).await?);
        }
        Ok(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers for as long as the daemon lives.
    pub async fn serve(self, upstream: Upstream, requests: mpsc::Sender<Request>) {
        let handler = Arc::new(Handler::new(upstream, requests, AT_ONCE));
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let mut sockets = JoinSet::new();
        for socket in self.datagrams {
            sockets.spawn(datagrams(Arc::new(socket), Arc::clone(&handler)));
        }
        for socket in self.listeners {
            sockets.spawn(connected(socket, Arc::clone(&handler), Arc::clone(&connections)));
        }
        while sockets.join_next().await.is_some() {}
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

async fn datagrams(socket: Arc<UdpSocket>, handler: Arc<Handler>) {
    let mut room = vec![0; LONGEST];
    loop {
        let (length, from) = match socket.recv_from(&mut room).await {
            Ok(received) => received,
            Err(failure) => {
                // An answer that nobody was there for is told here as well.
                debug!(%failure, "a datagram was not received");
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&handler.questions).try_acquire_owned() else { continue };
        let Some(question) = room.get(..length).and_then(read) else { continue };
        let (socket, handler) = (Arc::clone(&socket), Arc::clone(&handler));
        drop(tokio::spawn(async move {
            let limit = question.edns.as_ref().map_or(*PAYLOADS.start(), Edns::max_payload);
            let limit = limit.clamp(*PAYLOADS.start(), *PAYLOADS.end());
            let answer = handler.answer(&question, UDP, from).await;
            if let Some(bytes) = written(&answer, limit)
                && let Err(failure) = socket.send_to(&bytes, from).await
            {
                debug!(%failure, "an answer was not sent");
            }
            drop(turn);
        }));
    }
}

async fn connected(listener: TcpListener, handler: Arc<Handler>, connections: Arc<Semaphore>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(failure) => {
                error!(%failure, "a question over TCP was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let handler = Arc::clone(&handler);
        drop(tokio::spawn(async move {
            if let Err(failure) = converse(stream, from, &handler).await {
                debug!(%failure, "a conversation has ended");
            }
            drop(place);
        }));
    }
}

/// One question after the other (RFC 7766 section 8: two bytes of length before each message).
async fn converse(mut stream: TcpStream, from: SocketAddr, handler: &Handler) -> io::Result<()> {
    for number in 0..QUESTIONS {
        let patience = if number == 0 { FIRST } else { PATIENCE };
        let length = timeout(patience, stream.read_u16()).await??;
        let mut bytes = vec![0; usize::from(length)];
        timeout(PATIENCE, stream.read_exact(&mut bytes)).await??;
        let Some(question) = read(&bytes) else { return Ok(()) };
        let answer = match handler.questions.try_acquire() {
            Ok(_turn) => handler.answer(&question, TCP, from).await,
            Err(_) => return Ok(()),
        };
        let Some(mut bytes) = written(&answer, u16::MAX) else { return Ok(()) };
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        bytes.splice(..0, length);
        timeout(PATIENCE, stream.write_all(&bytes)).await??;
        if answer.metadata.response_code == ResponseCode::Refused {
            // Nobody's, or one that asks too much.
            return Ok(());
        }
    }
    Ok(())
}
