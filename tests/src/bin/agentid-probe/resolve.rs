//! Asks a server for a name, as a resolver does.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use agentid_tests::step::{Outcome, Question, Transport};
use anyhow::{Context as _, Result};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};

use crate::ask_much;

/// The number of every question.
const ID: u16 = 0x1234;
const PATIENCE: Duration = Duration::from_secs(100);
/// The option of EDNS that carries an extended error (RFC 8914).
const EXTENDED: EdnsCode = EdnsCode::Unknown(15);

/// The answer, or the errno of the call that failed.
pub fn resolve(question: &Question) -> Result<Outcome> {
    let bytes = message(question)?.to_vec()?;
    let answered = match question.transport {
        Transport::Udp => over_udp(question.server, &bytes),
        Transport::UdpUnconnected => unconnected(question.server, &bytes),
        Transport::Tcp => over_tcp(question.server, &bytes),
    };
    Ok(match answered {
        Ok((bytes, from)) => told(&Message::from_vec(&bytes)?, from),
        Err(error) => Outcome::Errno(error.raw_os_error().context("no errno")?),
    })
}

/// What came to so many questions, of which all are sent before an answer is read; or the errno of the call that failed.
pub fn many(question: &Question, times: usize) -> Result<Outcome> {
    let bytes = message(question)?.to_vec()?;
    let answers = match all_over_udp(question.server, &bytes, times) {
        Ok(answers) => answers,
        Err(error) => return Ok(Outcome::Errno(error.raw_os_error().context("no errno")?)),
    };
    let told = |bytes: Vec<u8>| {
        let message = Message::from_vec(&bytes)?;
        Ok((message.metadata.response_code.low().into(), extended(&message)))
    };
    Ok(Outcome::Answers(answers.into_iter().map(told).collect::<Result<_>>()?))
}

pub fn begin_to_ask_much(question: &Question) -> Result<Outcome> {
    ask_much::begin(question.server, message(question)?.to_vec()?)?;
    Ok(Outcome::Errno(0))
}

fn all_over_udp(server: SocketAddr, bytes: &[u8], times: usize) -> std::io::Result<Vec<Vec<u8>>> {
    let socket = socket(server)?;
    socket.connect(server)?;
    for _ in 0..times {
        socket.send(bytes)?;
    }
    (0..times).map(|_| received(&socket)).collect()
}

fn message(question: &Question) -> Result<Message> {
    let kind = if question.v6 { RecordType::AAAA } else { RecordType::A };
    // A run gets no random numbers from a file that its rules do not grant.
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{}.", question.name))?, kind));
    if question.edns {
        message.set_edns(Edns::new());
    }
    Ok(message)
}

type Answered = std::io::Result<(Vec<u8>, SocketAddr)>;

fn socket(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn over_udp(server: SocketAddr, bytes: &[u8]) -> Answered {
    let socket = socket(server)?;
    socket.connect(server)?;
    socket.send(bytes)?;
    Ok((received(&socket)?, socket.peer_addr()?))
}

fn received(socket: &UdpSocket) -> std::io::Result<Vec<u8>> {
    let mut room = vec![0; 4096];
    let length = socket.recv(&mut room)?;
    room.truncate(length);
    Ok(room)
}

fn unconnected(server: SocketAddr, bytes: &[u8]) -> Answered {
    let socket = socket(server)?;
    socket.send_to(bytes, server)?;
    let mut room = vec![0; 4096];
    let (length, from) = socket.recv_from(&mut room)?;
    room.truncate(length);
    Ok((room, from))
}

fn over_tcp(server: SocketAddr, bytes: &[u8]) -> Answered {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length, bytes].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok((answer, stream.peer_addr()?))
}

fn told(message: &Message, from: SocketAddr) -> Outcome {
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    });
    Outcome::Named {
        code: message.metadata.response_code.low().into(),
        addresses: addresses.collect(),
        longest: message.answers.iter().map(|record| record.ttl).max(),
        truncated: message.metadata.truncation,
        extended: extended(message),
        from,
    }
}

/// The code of the extended error.
fn extended(message: &Message) -> Option<u16> {
    match message.edns.as_ref()?.option(EXTENDED)? {
        EdnsOption::Unknown(_, bytes) => Some(u16::from_be_bytes(*bytes.first_chunk()?)),
        _ => None,
    }
}
