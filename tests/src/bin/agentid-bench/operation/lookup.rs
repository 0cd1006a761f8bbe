//! A name of a host, asked for as the C library does: a socket for each question, connected, and one datagram each way.

use std::os::fd::AsRawFd as _;

use anyhow::Result;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, recv, send, setsockopt,
    socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::Act;
use crate::names::{self, SERVER};

/// Seconds until a question counts for lost.
const PATIENCE: i64 = 5;

/// Asks the server of names for this one; for a run that means the daemon, which asks that server.
pub fn ask(name: &str) -> Result<Box<dyn Act>> {
    // Not a number by chance: the source of those is a device, for which there is no rule.
    let mut question = Message::new(1, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(names::name(name)?, RecordType::A));
    Ok(Box::new(Ask { question: question.to_vec()?, answer: Vec::new() }))
}

struct Ask {
    question: Vec<u8>,
    answer: Vec<u8>,
}

impl Act for Ask {
    fn once(&mut self) -> Result<(), Errno> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(SERVER))?;
        send(socket.as_raw_fd(), &self.question, MsgFlags::empty())?;
        self.answer.resize(512, 0);
        let length = recv(socket.as_raw_fd(), &mut self.answer, MsgFlags::empty())?;
        self.answer.truncate(length);
        Ok(())
    }

    /// What was measured was an answer with the address.
    fn clear(&mut self) -> Result<bool> {
        let answer = Message::from_vec(&self.answer)?;
        let code = answer.metadata.response_code;
        anyhow::ensure!(
            code == ResponseCode::NoError && answer.answers.len() == 1,
            "the answer is {code} with {} records",
            answer.answers.len()
        );
        Ok(true)
    }
}
