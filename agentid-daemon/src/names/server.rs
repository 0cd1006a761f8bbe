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
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use prometheus::IntCounter;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, error, warn};

use super::{
    Request,
    reply::{Handler, PAYLOADS, read, written},
    shares::Gate,
    upstream::Upstream,
};
use crate::kernel::Askers;

/// Ports that only root can take, and that nothing is registered for (IANA's registry of ports). An earlier daemon's comes
/// first: connections of runs may lead there.
const PORTS: RangeInclusive<u16> = 1002..=1009;
/// How long a connection may say nothing, and how long it may take to read an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to ask its first question.
const FIRST: Duration = Duration::from_secs(2);
/// Questions in one connection; a program that has more makes another.
const QUESTIONS: usize = 64;
/// Longest question over UDP, in bytes.
const LONGEST: usize = 4096;
/// Bytes of datagrams that may wait to be read, as the kernel counts them: the questions of a run that is not let in must not
/// keep those of others out before they are looked at.
const WAITING: usize = 4 << 20;
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
                Ok(socket) => server.datagrams.push(roomy(socket)),
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
    pub async fn serve(
        self,
        upstream: Upstream,
        requests: mpsc::Sender<Request>,
        (askers, refused): (Askers, IntCounter),
    ) {
        let gate = Arc::new(Gate::new(askers, refused, requests.clone()));
        let handler = Arc::new(Handler::new(upstream, requests));
        let mut sockets = JoinSet::new();
        for socket in self.datagrams {
            sockets.spawn(datagrams(Arc::new(socket), Arc::clone(&handler), Arc::clone(&gate)));
        }
        for socket in self.listeners {
            sockets.spawn(connected(socket, Arc::clone(&handler), Arc::clone(&gate)));
        }
        while sockets.join_next().await.is_some() {}
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn roomy(socket: UdpSocket) -> UdpSocket {
    if let Err(failure) = setsockopt(&socket, RcvBufForce, &WAITING) {
        warn!(%failure, "questions for names have less room to wait");
    }
    socket
}

async fn datagrams(socket: Arc<UdpSocket>, handler: Arc<Handler>, gate: Arc<Gate>) {
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
        let Some(place) = gate.question(UDP, from) else { continue };
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
            drop(place);
        }));
    }
}

async fn connected(listener: TcpListener, handler: Arc<Handler>, gate: Arc<Gate>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(failure) => {
                error!(%failure, "a question over TCP was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = gate.connection(TCP, from) else { continue };
        let (handler, gate) = (Arc::clone(&handler), Arc::clone(&gate));
        drop(tokio::spawn(async move {
            if let Err(failure) = converse(stream, from, &handler, &gate).await {
                debug!(%failure, "a conversation has ended");
            }
            drop(place);
        }));
    }
}

/// One question after the other (RFC 7766 section 8: two bytes of length before each message).
async fn converse(
    mut stream: TcpStream,
    from: SocketAddr,
    handler: &Handler,
    gate: &Gate,
) -> io::Result<()> {
    for number in 0..QUESTIONS {
        let patience = if number == 0 { FIRST } else { PATIENCE };
        let length = timeout(patience, stream.read_u16()).await??;
        let mut bytes = vec![0; usize::from(length)];
        timeout(PATIENCE, stream.read_exact(&mut bytes)).await??;
        let Some(question) = read(&bytes) else { return Ok(()) };
        let Some(place) = gate.question(TCP, from) else { return Ok(()) };
        let answer = handler.answer(&question, TCP, from).await;
        drop(place);
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
