//! Answers questions for names at the loopback addresses, for runs alone.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentid_common::net::{TCP, UDP};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, Record, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
    serialize::binary::{BinEncodable as _, BinEncoder},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, error};

use super::{
    Ask, Found, Pinned, Request, Verdict, answer,
    upstream::{Asked, Upstream},
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
/// Questions of one run that wait for the host's servers at a time.
const EACH: u32 = 32;
/// Longest question over UDP, in bytes.
const LONGEST: usize = 4096;
/// Bytes of an answer over UDP: what every resolver takes, and what none of ours is given.
const PAYLOADS: RangeInclusive<u16> = 512..=4096;
/// Longest name that is passed on, in letters. A longer one is allowed by DNS, and used for nothing but to carry data.
const MAX_NAME: usize = 128;
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
        let questions = Arc::new(Semaphore::new(AT_ONCE));
        let handler = Arc::new(Handler { upstream, requests, questions, runs: Runs::default() });
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

/// A message that asks; what is no message, or answers, gets no answer.
fn read(bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    (message.metadata.message_type == MessageType::Query).then_some(message)
}

/// The message in no more bytes; what does not fit is left out, and the message says so.
fn written(message: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    match message.emit(&mut encoder) {
        Ok(()) => Some(bytes),
        Err(failure) => {
            error!(%failure, "an answer cannot be written");
            None
        }
    }
}

struct Handler {
    upstream: Upstream,
    requests: mpsc::Sender<Request>,
    questions: Arc<Semaphore>,
    runs: Runs,
}

/// How many questions of each run are under way.
#[derive(Debug, Default)]
struct Runs(Mutex<BTreeMap<uuid::Uuid, u32>>);

impl Runs {
    /// One more, unless there are enough.
    fn take(&self, run: uuid::Uuid) -> Option<Turn<'_>> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = runs.entry(run).or_default();
        if *count >= EACH {
            return None;
        }
        *count += 1;
        Some(Turn { runs: self, run })
    }
}

/// One question that is under way.
struct Turn<'a> {
    runs: &'a Runs,
    run: uuid::Uuid,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut runs = self.runs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = runs.get_mut(&self.run) {
            *count -= 1;
            if *count == 0 {
                runs.remove(&self.run);
            }
        }
    }
}

/// An answer, before it is a message.
struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    /// Why it is not what the run has asked for (RFC 8914), for people.
    why: Option<(u16, &'static str)>,
    authentic: bool,
}

impl Reply {
    fn refusing(code: ResponseCode, why: u16, text: &'static str) -> Self {
        let why = Some((why, text));
        Self { code, answers: Vec::new(), authorities: Vec::new(), why, authentic: false }
    }

    /// Nothing came of it, and it may be asked again.
    fn failed(why: u16, text: &'static str) -> Self {
        Self::refusing(ResponseCode::ServFail, why, text)
    }

    fn to(self, question: &Message) -> Message {
        let asked = &question.metadata;
        let mut message = Message::response(asked.id, asked.op_code);
        message.metadata.response_code = self.code;
        message.metadata.recursion_desired = asked.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.checking_disabled = asked.checking_disabled;
        message.metadata.authentic_data = self.authentic;
        message.queries = question.queries.clone();
        message.answers = self.answers;
        message.authorities = self.authorities;
        message.edns = question.edns.as_ref().map(|asked| edns(asked, self.why));
        message
    }
}

/// Extended errors: IANA's registry of them, and the code of the option that carries one.
mod extended {
    pub const OTHER: u16 = 0;
    pub const BLOCKED: u16 = 15;
    pub const PROHIBITED: u16 = 18;
    pub const NO_AUTHORITY: u16 = 22;
    pub const OPTION: u16 = 15;
}

fn edns(asked: &Edns, why: Option<(u16, &'static str)>) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(*PAYLOADS.end()).set_dnssec_ok(asked.flags().dnssec_ok);
    if let Some((code, text)) = why {
        let told = [&code.to_be_bytes(), text.as_bytes()].concat();
        let option = EdnsOption::Unknown(extended::OPTION, told);
        edns.options_mut().options.push((EdnsCode::Unknown(extended::OPTION), option));
    }
    edns
}

impl Handler {
    async fn answer(&self, question: &Message, protocol: u8, from: SocketAddr) -> Message {
        self.reply(question, protocol, from).await.to(question)
    }

    async fn reply(&self, question: &Message, protocol: u8, from: SocketAddr) -> Reply {
        if question.metadata.op_code != OpCode::Query {
            let text = "only questions are answered";
            return Reply::refusing(ResponseCode::NotImp, extended::OTHER, text);
        }
        let [query] = question.queries.as_slice() else {
            let text = "one question at a time";
            return Reply::refusing(ResponseCode::FormErr, extended::OTHER, text);
        };
        if query.query_class() != DNSClass::IN || is_transfer(query.query_type()) {
            let text = "not this kind of question";
            return Reply::refusing(ResponseCode::Refused, extended::PROHIBITED, text);
        }
        let name = plain(query.name());
        let run = match self.ask(query, &name, protocol, from).await {
            Some(Verdict::Granted(run)) => run,
            // To the run it is a name that does not exist, which is what programs know how to take.
            Some(Verdict::Denied(_)) => {
                let text = "no rule of the run's policy grants this name";
                return Reply::refusing(ResponseCode::NXDomain, extended::PROHIBITED, text);
            }
            Some(Verdict::Limited(_)) => {
                return Reply::refusing(ResponseCode::Refused, extended::OTHER, "too many questions");
            }
            Some(Verdict::Nobody) => {
                let text = "only a run that lives is answered";
                return Reply::refusing(ResponseCode::Refused, extended::PROHIBITED, text);
            }
            None => return Reply::failed(extended::OTHER, "the daemon has no time"),
        };
        let asked = Asked {
            query: query.clone(),
            dnssec_ok: question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        };
        // Servers that do not answer hold up this run and no other.
        let Some(_turn) = self.runs.take(run) else {
            return Reply::failed(extended::OTHER, "too many questions at once");
        };
        match self.upstream.ask(&asked).await {
            Ok(message) => self.pass_on(run, name, query, message).await,
            Err(failure) => {
                debug!(%failure, "a server of names has not answered");
                Reply::failed(extended::NO_AUTHORITY, "no server of the host has answered")
            }
        }
    }

    async fn ask(
        &self,
        query: &Query,
        name: &str,
        protocol: u8,
        from: SocketAddr,
    ) -> Option<Verdict> {
        let (reply, verdict) = oneshot::channel();
        let kind = query.query_type().to_string();
        let long = name.len() > MAX_NAME;
        let ask = Ask { protocol, from, name: name.to_owned(), kind, long, reply };
        self.requests.try_send(Request::Ask(ask)).ok()?;
        verdict.await.ok()
    }

    /// Has the addresses pinned before the answer leaves.
    async fn pass_on(&self, run: uuid::Uuid, name: String, query: &Query, from: Message) -> Reply {
        let kind = query.query_type().to_string();
        let addresses = answer::addresses(query.name(), &from.answers);
        let some = !addresses.is_empty();
        let (reply, pinned) = oneshot::channel();
        let found = Found { run, name, kind, addresses, reply };
        if self.requests.send(Request::Found(found)).await.is_err() {
            return Reply::failed(extended::OTHER, "the daemon is going");
        }
        let (kept, most) = match pinned.await {
            Ok(Pinned::These(kept, most)) => (kept, most),
            Ok(Pinned::Full) => {
                return Reply::failed(extended::OTHER, "the tables of the kernel have no room");
            }
            Ok(Pinned::Over) | Err(_) => {
                let text = "the run is over";
                return Reply::refusing(ResponseCode::Refused, extended::PROHIBITED, text);
            }
        };
        let why = (some && kept.is_empty())
            .then_some((extended::BLOCKED, "its addresses are none that the policy lets this name have"));
        let Message { metadata, answers, authorities, .. } = from;
        Reply {
            code: metadata.response_code,
            answers: answer::kept(query.name(), answers, &kept, most),
            authorities,
            why,
            authentic: metadata.authentic_data,
        }
    }
}

/// Whether a whole zone is asked for, or everything of a name.
fn is_transfer(kind: RecordType) -> bool {
    matches!(kind, RecordType::ANY | RecordType::AXFR | RecordType::IXFR)
}

/// In lower case, without the dot at its end.
fn plain(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map_or(text.clone(), ToOwned::to_owned)
}
