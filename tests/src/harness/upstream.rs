//! A server of names, which knows what a test tells it and remembers what it was asked.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, CNAME},
    },
};

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of an answer over UDP; what is longer has to be asked for over TCP.
const LONGEST: usize = 1232;

/// The server, at one port of an address by UDP and TCP; it ends with its guard.
pub struct Upstream {
    at: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    records: Vec<Record>,
    heard: Mutex<Vec<String>>,
    ends: AtomicBool,
}

impl Upstream {
    /// A server of these records at a port of loopback.
    pub fn start(records: Vec<Record>) -> Result<Self> {
        let at = |port| Self::at((Ipv4Addr::LOCALHOST, port).into(), records.clone()).ok();
        (5300..5400).find_map(at).context("no port is free")
    }

    /// The same at this address.
    pub fn at(at: SocketAddr, records: Vec<Record>) -> Result<Self> {
        let (socket, listener) = (UdpSocket::bind(at)?, TcpListener::bind(at)?);
        socket.set_read_timeout(Some(LOOK))?;
        listener.set_nonblocking(true)?;
        let shared = Shared { records, heard: Mutex::default(), ends: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let threads = vec![
            spawn(&shared, move |shared| shared.datagrams(&socket)),
            spawn(&shared, move |shared| shared.connections(&listener)),
        ];
        Ok(Self { at, shared, threads })
    }

    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// The names that were asked for since this was called last, in lower case.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a server of names has failed");
            }
        }
    }
}

fn spawn(
    shared: &Arc<Shared>,
    body: impl FnOnce(&Shared) -> Result<()> + Send + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        if let Err(failure) = body(&shared) {
            eprintln!("a server of names has failed: {failure:#}");
        }
    })
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::Relaxed)
    }

    fn datagrams(&self, socket: &UdpSocket) -> Result<()> {
        let mut room = [0; 4096];
        while self.goes_on() {
            let (length, from) = match socket.recv_from(&mut room) {
                Ok(received) => received,
                Err(error) if would_block(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut answer = self.answer(&room[..length])?;
            if answer.to_vec()?.len() > LONGEST {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            socket.send_to(&answer.to_vec()?, from)?;
        }
        Ok(())
    }

    fn connections(&self, listener: &TcpListener) -> Result<()> {
        while self.goes_on() {
            match listener.accept() {
                // Who goes without asking takes no answer from others.
                Ok((stream, from)) => {
                    if let Err(failure) = self.converse(stream) {
                        eprintln!("a server of names has not answered {from}: {failure:#}");
                    }
                }
                Err(error) if would_block(&error) => thread::sleep(LOOK),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn converse(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(super::wait::SOON))?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes)?;
        let answer = self.answer(&bytes)?.to_vec()?;
        stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
        Ok(stream.write_all(&answer)?)
    }

    fn answer(&self, question: &[u8]) -> Result<Message> {
        let question = Message::from_vec(question)?;
        let query = question.queries.first().context("no question")?;
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(query.name().to_ascii().to_ascii_lowercase());
        drop(heard);
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.queries = question.queries.clone();
        answer.edns = question.edns.clone();
        // Aliases with what they lead to.
        let mut name = query.name().clone();
        loop {
            let of_name = self.records.iter().filter(|record| record.name == name);
            let alias = of_name.clone().find_map(|record| match &record.data {
                RData::CNAME(to) => Some((record, to.0.clone())),
                _ => None,
            });
            let Some((record, to)) = alias else { break };
            answer.add_answer(record.clone());
            name = to;
        }
        let known: Vec<&Record> = self.records.iter().filter(|it| it.name == name).collect();
        let wanted = known.iter().filter(|it| it.record_type() == query.query_type());
        answer.add_answers(wanted.map(|it| (*it).clone()));
        if known.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        Ok(answer)
    }
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A record of an address.
pub fn address(name: &str, ttl: u32, address: std::net::IpAddr) -> Record {
    let data = match address {
        std::net::IpAddr::V4(address) => RData::A(A(address)),
        std::net::IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(full(name), ttl, data)
}

/// A record of another name.
pub fn alias(name: &str, ttl: u32, to: &str) -> Record {
    Record::from_rdata(full(name), ttl, RData::CNAME(CNAME(full(to))))
}

fn full(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).unwrap_or_default()
}
