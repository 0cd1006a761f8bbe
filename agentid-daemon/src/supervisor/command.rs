//! What the servers hand to the loop, and how it answers.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    control::api::{
        AdoptReply, AdoptRequest, ChangeReply, ChangeRequest, DelegateRequest, EndRequest,
        ErrorReply, LaunchReply, LaunchRequest, OwnerReply, OwnerRequest, PolicyInForce,
        PolicySource, RevokeAllReply, RevokeAllRequest, RevokeReply, RevokeRequest, RunView,
        SelectRequest, Selector, StatusReply, TreeQuery, TreeRun, WhoAmI, WhyReply, WhyRequest,
        in_a_query,
    },
    event::event::{Event, OwnDenial},
};

/// Commands that may wait; whoever asks more waits with his connection.
pub const QUEUE: usize = 256;

pub type Answer<T> = Result<T, ErrorReply>;
pub type Reply<T> = oneshot::Sender<Answer<T>>;

/// The peer of a connection, by the kernel's word.
#[derive(Debug)]
pub struct Caller {
    pub uid: u32,
    /// To whose account it goes what it takes of what there is for all.
    pub account: u32,
    pub tgid: u32,
    /// Whether the peer is root or in the operators' group.
    pub operator: bool,
    /// Its process, which no other can take the place of.
    pub process: OwnedFd,
    /// The daemon's end of the connection, which knows the run that has made it.
    pub socket: OwnedFd,
}

impl Caller {
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A command, who gives it, and since when it waits.
#[derive(Debug)]
pub struct Envelope {
    pub caller: Arc<Caller>,
    pub arrived: Instant,
    pub command: Command,
}

/// Where commands are handed in: what ends or changes runs, or says who may have any, comes before all else, in its order.
#[derive(Clone, Debug)]
pub struct Commands {
    urgent: mpsc::Sender<Envelope>,
    usual: mpsc::Sender<Envelope>,
}

/// Where they come out.
#[derive(Debug)]
pub struct Waiting {
    pub urgent: mpsc::Receiver<Envelope>,
    pub usual: mpsc::Receiver<Envelope>,
}

/// Two queues: a launch may take long, where a process keeps the kernel from telling about it, and a revocation does not wait
/// for all that were asked for before.
pub fn queues() -> (Commands, Waiting) {
    let (urgent, urgent_waiting) = mpsc::channel(QUEUE);
    let (usual, usual_waiting) = mpsc::channel(QUEUE);
    (Commands { urgent, usual }, Waiting { urgent: urgent_waiting, usual: usual_waiting })
}

impl Commands {
    /// False when nobody takes commands any more.
    pub async fn hand_in(&self, envelope: Envelope) -> bool {
        let queue = if envelope.command.is_urgent() { &self.urgent } else { &self.usual };
        queue.send(envelope).await.is_ok()
    }
}

/// One queue for all.
impl From<mpsc::Sender<Envelope>> for Commands {
    fn from(queue: mpsc::Sender<Envelope>) -> Self {
        Self { urgent: queue.clone(), usual: queue }
    }
}

/// All that the control socket can ask.
#[derive(Debug)]
pub enum Command {
    WhoAmI(Reply<WhoAmI>),
    OwnDenials(Reply<Vec<OwnDenial>>),
    Launch(Box<LaunchRequest>, Reply<LaunchReply>),
    List {
        all: bool,
        reply: Reply<Listed<Vec<RunView>>>,
    },
    Show {
        id: String,
        reply: Reply<RunView>,
    },
    Revoke {
        id: String,
        request: RevokeRequest,
        reply: Reply<RevokeReply>,
    },
    /// The caller's own run.
    End {
        request: EndRequest,
        reply: Reply<RevokeReply>,
    },
    Why {
        id: String,
        request: WhyRequest,
        reply: Reply<WhyReply>,
    },
    Events {
        query: EventsQuery,
        reply: Reply<Feed>,
    },
    Status(Reply<StatusReply>),
    Tree {
        query: TreeQuery,
        reply: Reply<Vec<TreeRun>>,
    },
    Owner {
        denied: bool,
        request: OwnerRequest,
        reply: Reply<OwnerReply>,
    },
    Delegate(Box<DelegateRequest>, Reply<LaunchReply>),
    Adopt(Box<AdoptRequest>, Reply<AdoptReply>),
    Select {
        request: SelectRequest,
        reply: Reply<Listed<Vec<RunView>>>,
    },
    RevokeAll {
        request: RevokeAllRequest,
        reply: Reply<RevokeAllReply>,
    },
    Change {
        kind: Kind,
        request: ChangeRequest,
        reply: Reply<ChangeReply>,
    },
    /// Whether the caller may read the document of the API.
    Document(Reply<()>),
    Policies(Reply<Vec<PolicyInForce>>),
    Policy {
        name: String,
        reply: Reply<PolicySource>,
    },
}

/// How runs are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Suspend,
    Resume,
    Extend,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Extend => "extend",
        }
    }
}

impl Command {
    const fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Revoke { .. }
                | Self::RevokeAll { .. }
                | Self::End { .. }
                | Self::Change { .. }
                | Self::Owner { .. }
        )
    }

    /// Every name of a command; the closed label of its metric.
    pub const VERBS: [&'static str; 21] = [
        "whoami",
        "launch",
        "list",
        "show",
        "revoke",
        "why",
        "events",
        "status",
        "select",
        "suspend",
        "resume",
        "extend",
        "delegate",
        "tree",
        "deny-owner",
        "allow-owner",
        "own-denials",
        "adopt",
        "policies",
        "document",
        "end",
    ];

    pub const fn verb(&self) -> &'static str {
        match self {
            Self::WhoAmI(_) => Self::VERBS[0],
            Self::Launch(..) => Self::VERBS[1],
            Self::List { .. } => Self::VERBS[2],
            Self::Show { .. } => Self::VERBS[3],
            Self::Revoke { .. } | Self::RevokeAll { .. } => Self::VERBS[4],
            Self::Why { .. } => Self::VERBS[5],
            Self::Events { .. } => Self::VERBS[6],
            Self::Status(_) => Self::VERBS[7],
            Self::Select { .. } => Self::VERBS[8],
            Self::Change { kind, .. } => kind.name(),
            Self::Delegate(..) => Self::VERBS[12],
            Self::Tree { .. } => Self::VERBS[13],
            Self::Owner { denied: true, .. } => Self::VERBS[14],
            Self::Owner { denied: false, .. } => Self::VERBS[15],
            Self::OwnDenials(_) => Self::VERBS[16],
            Self::Adopt(..) => Self::VERBS[17],
            Self::Policies(_) | Self::Policy { .. } => Self::VERBS[18],
            Self::Document(_) => Self::VERBS[19],
            Self::End { .. } => Self::VERBS[20],
        }
    }
}

impl Command {
    /// Answers any command with an error.
    pub fn refuse(self, error: ErrorReply) {
        let gone = match self {
            Self::WhoAmI(reply) => reply.send(Err(error)).is_err(),
            Self::OwnDenials(reply) => reply.send(Err(error)).is_err(),
            Self::Launch(_, reply) => reply.send(Err(error)).is_err(),
            Self::List { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Show { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Revoke { reply, .. } => reply.send(Err(error)).is_err(),
            Self::End { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Why { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Events { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Status(reply) => reply.send(Err(error)).is_err(),
            Self::Tree { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Owner { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Delegate(_, reply) => reply.send(Err(error)).is_err(),
            Self::Adopt(_, reply) => reply.send(Err(error)).is_err(),
            Self::Select { reply, .. } => reply.send(Err(error)).is_err(),
            Self::RevokeAll { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Change { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Policies(reply) => reply.send(Err(error)).is_err(),
            Self::Policy { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Document(reply) => reply.send(Err(error)).is_err(),
        };
        if gone {
            tracing::debug!("who asked has gone");
        }
    }
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Also those to come; the stream then ends with the daemon.
    #[serde(default)]
    pub follow: bool,
    /// Only those of this run.
    pub id: Option<String>,
    /// Only those of these runs, also of such as are launched later. Ages are those at the event, or of past ones at the
    /// question. Of a run that is not known any more nothing is shown.
    #[serde(default, deserialize_with = "in_a_query")]
    #[schemars(with = "Selector")]
    pub select: Option<Selector>,
    /// How many past events at most; without it all, or none when following. Not looked at where the stream goes on after
    /// an event.
    pub last: Option<usize>,
    /// Only those with larger numbers, and first of all whether there were such that are not known any more. The header
    /// `Last-Event-ID` says the same, and says it later: where both are there, it is what holds.
    pub after: Option<u64>,
}

/// Something with the number of events up to which it holds.
#[derive(Debug)]
pub struct Listed<T> {
    pub seq: u64,
    pub value: T,
}

/// Past events, and a queue of those to come.
#[derive(Debug)]
pub struct Feed {
    /// A number that no event here is below, and none that this is a part of and that is not here is above.
    pub start: u64,
    pub past: Vec<Arc<Event>>,
    pub live: Option<mpsc::Receiver<Arc<Event>>>,
}

/// Asks for the text of all metrics.
pub type Scrape = oneshot::Sender<Result<String, String>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_end_something_comes_before_all_else() {
        let (reply, _) = oneshot::channel();
        let revoke =
            Command::Revoke { id: String::new(), request: RevokeRequest::default(), reply };
        assert!(revoke.is_urgent());
        let (reply, _) = oneshot::channel();
        assert!(Command::End { request: EndRequest::default(), reply }.is_urgent());
        let (reply, _) = oneshot::channel();
        assert!(!Command::Status(reply).is_urgent());
    }
}
