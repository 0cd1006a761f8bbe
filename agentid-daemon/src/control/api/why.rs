//! What a run would be allowed, and who asks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    bounds::{address, capability, rights},
    run::NameView,
};

/// Asks whether a run would be allowed something now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WhyRequest {
    Open {
        #[schemars(regex(pattern = "^/"))]
        path: PathBuf,
        #[schemars(schema_with = "rights")]
        want: Vec<String>,
    },
    /// Makes a file, a folder or a link of this name, or gives one this name.
    Create(FileName),
    /// Takes the name away.
    Delete(FileName),
    /// Gives a file or folder another name, and replaces what has it. Whether the kernel can move from one to the other is not
    /// asked: it cannot from mount to mount.
    Move {
        #[schemars(regex(pattern = "^/"))]
        from: PathBuf,
        #[schemars(regex(pattern = "^/"))]
        to: PathBuf,
    },
    /// Gives a file one more name (a hard link).
    Link {
        #[schemars(regex(pattern = "^/"))]
        from: PathBuf,
        #[schemars(regex(pattern = "^/"))]
        to: PathBuf,
    },
    Connect(Endpoint),
    /// A peer that is known by a name.
    ConnectName(NamedEndpoint),
    Send(Endpoint),
    Listen(Endpoint),
    Accept(Endpoint),
    /// Connects to a unix socket with an abstract name that is no run's.
    ConnectAbstract(AbstractSocket),
    /// Takes an abstract name for a unix socket.
    ListenAbstract(AbstractSocket),
    /// A capability, as policies name it.
    Capability(#[schemars(schema_with = "capability")] String),
}

/// A name in a folder. What is a symbolic link there is itself meant, and not where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileName {
    #[schemars(regex(pattern = "^/"))]
    pub path: PathBuf,
}

/// A unix socket by its abstract name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbstractSocket {
    /// Without the zero before it.
    #[schemars(length(min = 1, max = 107))]
    pub name: String,
}

/// One end of a conversation: the peer's, or for `listen` and `accept` the run's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    #[schemars(schema_with = "address")]
    pub address: std::net::IpAddr,
    /// Means nothing for ICMP.
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

/// A peer by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedEndpoint {
    pub name: String,
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

/// What rules can name, as they name it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Icmp,
}

/// The answer of the decision itself, run on the daemon's copy of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyReply {
    /// `allow`, `audit`, `deny` or `fault`.
    pub verdict: String,
    pub reason: Option<String>,
    pub fault: Option<String>,
    pub rule: Option<u16>,
    /// The run above whose policy says so, and has the rule; `None` when it is the run's own.
    #[serde(default)]
    pub by: Option<Uuid>,
    /// The rule as its document has it.
    pub rule_text: Option<String>,
    pub because: Option<String>,
    /// One sentence for people.
    pub explanation: String,
    /// What the system call would fail with: `EACCES`, `EPERM`, or `EXDEV` for a move by which something would gain a right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// The smallest addition to the policy that says no which grants what is missing first, in the policy's language; `None`
    /// where a rule denies it, or no rule could grant it. Of a move what is missing next is told when it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The addresses that the asked name stands for now.
    #[serde(default)]
    pub names: Vec<NameView>,
}

impl WhyReply {
    /// The verdict, and the rule that it comes from, in lines.
    pub fn grounds(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", self.verdict, self.explanation)];
        if let (Some(rule), Some(text)) = (self.rule, &self.rule_text) {
            lines.push(format!("rule {rule}: {text}"));
        }
        lines.extend(self.because.iter().map(|because| format!("because: {because}")));
        lines
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    pub uid: u32,
    pub operator: bool,
    /// The run that the asking task belongs to.
    pub run: Option<Uuid>,
    /// What is known of it.
    #[serde(default)]
    pub about: Option<OwnRun>,
}

/// What a run is told of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnRun {
    pub agent: String,
    pub owner: String,
    pub on_behalf_of: Option<String>,
    pub task: String,
    pub purpose: Option<String>,
    /// `NAME@DIGEST`.
    pub policy: String,
    /// All runs above it, the one right above first.
    pub above: Vec<Uuid>,
    /// `active`, `suspended`, `stopping` or `ended`.
    pub phase: String,
    pub deadline_ms: u64,
}
