//! What is answered to a question.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, Record, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
    serialize::binary::{BinEncodable as _, BinEncoder},
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error};

use super::{
    Ask, Found, Pinned, Request, Verdict, answer,
    memory::{Memory, Question},
    shares::Shares,
    upstream::{Asked, Upstream},
};
use crate::kernel::boot_time;

/// Questions of one run that wait for the host's servers at a time.
const EACH: u32 = 32;
/// Longest name that is passed on, in letters. A longer one is allowed by DNS, and used for nothing but to carry data.
const MAX_NAME: usize = 128;
/// Bytes of an answer over UDP: what every resolver takes, and what none of ours is given.
pub(super) const PAYLOADS: RangeInclusive<u16> = 512..=4096;

/// A message that asks; what is no message, or answers, gets no answer.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    (message.metadata.message_type == MessageType::Query).then_some(message)
}

/// The message in no more bytes; what does not fit is left out, and the message says so.
pub(super) fn written(message: &Message, limit: u16) -> Option<Vec<u8>> {
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

/// Answers questions, wherever they come from.
pub(super) struct Handler {
    upstream: Upstream,
    requests: mpsc::Sender<Request>,
    /// How many questions of each run are under way.
    runs: Arc<Shares<uuid::Uuid>>,
    memory: Memory,
}

/// An answer, before it is a message.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    /// Why it is not what the run has asked for (RFC 8914), for people.
    why: Option<(u16, &'static str)>,
    authentic: bool,
    /// Nothing that the servers have said was left out.
    whole: bool,
}

impl Reply {
    fn refusing(code: ResponseCode, why: u16, text: &'static str) -> Self {
        let why = Some((why, text));
        let (answers, authorities) = (Vec::new(), Vec::new());
        Self { code, answers, authorities, why, authentic: false, whole: false }
    }

    #[cfg(test)]
    pub(super) fn whole(
        code: ResponseCode,
        answers: Vec<Record>,
        authorities: Vec<Record>,
    ) -> Self {
        Self { code, answers, authorities, why: None, authentic: false, whole: true }
    }

    /// Nothing came of it, and it may be asked again.
    pub(super) fn failed(why: u16, text: &'static str) -> Self {
        Self::refusing(ResponseCode::ServFail, why, text)
    }

    /// Whether it is what the servers say of the name, and all of it.
    pub(super) fn may_be_kept(&self) -> bool {
        self.whole && matches!(self.code, ResponseCode::NoError | ResponseCode::NXDomain)
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
    pub(super) fn new(upstream: Upstream, requests: mpsc::Sender<Request>) -> Self {
        Self { upstream, requests, runs: Shares::new(EACH), memory: Memory::default() }
    }

    pub(super) async fn answer(
        &self,
        question: &Message,
        protocol: u8,
        from: SocketAddr,
    ) -> Message {
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
        let (run, edition) = match self.ask(query, &name, protocol, from).await {
            Some(Verdict::Granted { run, edition }) => (run, edition),
            // To the run it is a name that does not exist, which is what programs know how to take.
            Some(Verdict::Denied(_)) => {
                let text = "no rule of the run's policy grants this name";
                return Reply::refusing(ResponseCode::NXDomain, extended::PROHIBITED, text);
            }
            Some(Verdict::Limited(_)) => {
                return Reply::refusing(
                    ResponseCode::Refused,
                    extended::OTHER,
                    "too many questions",
                );
            }
            Some(Verdict::Nobody) => {
                let text = "only a run that lives is answered";
                return Reply::refusing(ResponseCode::Refused, extended::PROHIBITED, text);
            }
            None => return Reply::failed(extended::OTHER, "the daemon is going"),
        };
        let asked = Asked {
            query: query.clone(),
            dnssec_ok: question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        };
        let question =
            Question { name: name.clone(), kind: query.query_type(), dnssec_ok: asked.dnssec_ok };
        if let Some(reply) = self.memory.recall(run, &question, edition, boot_time()) {
            return reply;
        }
        // Servers that do not answer hold up this run and no other.
        let Some(_turn) = self.runs.take(run) else {
            return Reply::failed(extended::OTHER, "too many questions at once");
        };
        match self.upstream.ask(&asked).await {
            Ok(message) => {
                let since = boot_time();
                let (reply, edition) = self.pass_on(run, name, query, message).await;
                if let Some(edition) = edition {
                    self.memory.keep(run, question, &reply, edition, since);
                }
                reply
            }
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
        self.requests.send(Request::Ask(ask)).await.ok()?;
        verdict.await.ok()
    }

    /// Has the addresses pinned before the answer leaves; and tells under which edition they are.
    async fn pass_on(
        &self,
        run: uuid::Uuid,
        name: String,
        query: &Query,
        from: Message,
    ) -> (Reply, Option<u64>) {
        let kind = query.query_type().to_string();
        let addresses = answer::addresses(query.name(), &from.answers);
        let all: Vec<IpAddr> = addresses.iter().map(|(address, _)| *address).collect();
        let (reply, pinned) = oneshot::channel();
        let found = Found { run, name, kind, addresses, reply };
        if self.requests.send(Request::Found(found)).await.is_err() {
            return (Reply::failed(extended::OTHER, "the daemon is going"), None);
        }
        let (kept, most, edition) = match pinned.await {
            Ok(Pinned::These { kept, most, edition }) => (kept, most, edition),
            Ok(Pinned::Full) => {
                let text = "the tables of the kernel have no room";
                return (Reply::failed(extended::OTHER, text), None);
            }
            Ok(Pinned::Over) | Err(_) => {
                let text = "the run is over";
                return (Reply::refusing(ResponseCode::Refused, extended::PROHIBITED, text), None);
            }
        };
        let why = (!all.is_empty() && kept.is_empty()).then_some((
            extended::BLOCKED,
            "its addresses are none that the policy lets this name have",
        ));
        let Message { metadata, answers, authorities, .. } = from;
        let reply = Reply {
            code: metadata.response_code,
            answers: answer::kept(query.name(), answers, &kept, most),
            authorities,
            why,
            authentic: metadata.authentic_data,
            whole: all.iter().all(|address| kept.contains(address)),
        };
        (reply, Some(edition))
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

#[cfg(test)]
mod tests;
