//! What can be typed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand};

use super::exit;
use crate::control::api::Protocol;

/// Gives every run of an AI agent an identity that the kernel enforces.
#[derive(Debug, Parser)]
#[command(name = "agentid", version, after_help = exit::HELP)]
pub struct Arguments {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/agentid/control.sock")]
    pub socket: PathBuf,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Execute a command as a new run, held to a policy
    Run(Run),
    /// List runs
    Ps(Ps),
    /// Show all of one run
    Show(Show),
    /// End a run and all below it, for good
    Revoke(Revoke),
    /// Show what runs did, and what the kernel said
    Events(Events),
    /// Show what this host enforces
    Status(Status),
    /// Say whether a run would be allowed something, and by which rule
    Why(Why),
    /// Work on policies, without the daemon
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    /// Name of the policy
    #[arg(long, value_name = "NAME")]
    pub policy: String,
    /// The kind of software that is run
    #[arg(long)]
    pub agent: String,
    /// The person or team who answers for the run
    #[arg(long)]
    pub owner: String,
    /// What the run works on: a ticket, a branch, a pipeline step
    #[arg(long)]
    pub task: String,
    /// Why, in words
    #[arg(long)]
    pub purpose: Option<String>,
    /// A folder for a parameter of the policy
    #[arg(long = "param", value_name = "NAME=FOLDER", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// How long the run may live, such as 90s, 30m or 2h; the policy's own without it
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,
    /// ID of the run above this one, whose rules and life bind this one too
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// A label
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Also those that have ended
    #[arg(long, short)]
    pub all: bool,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The run: its ID, or enough of the start or the end of it
    pub id: String,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// The run: its ID, or enough of the start or the end of it
    pub id: String,
    /// Why, for the record
    #[arg(long)]
    pub reason: Option<String>,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Only of this run
    #[arg(long)]
    pub id: Option<String>,
    /// At most so many past events [default: all, or none with --follow]
    #[arg(long, value_name = "NUMBER")]
    pub last: Option<usize>,
    /// For programs: one JSON object in each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("object").required(true).args(["open", "connect", "send", "listen", "accept"]))]
pub struct Why {
    /// The run: its ID, or enough of the start or the end of it
    pub id: String,
    /// A file to open
    #[arg(long, value_name = "PATH")]
    pub open: Option<PathBuf>,
    /// Open it for writing
    #[arg(long, requires = "open")]
    pub write: bool,
    /// Execute it
    #[arg(long, requires = "open", conflicts_with = "write")]
    pub exec: bool,
    /// A peer to connect to, such as 10.1.0.7:443 or [::1]:8080
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub connect: Option<SocketAddr>,
    /// A peer to send a message to that carries the address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub send: Option<SocketAddr>,
    /// An address and a port to listen on, such as 127.0.0.1:8000 or [::]:8000
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// An address and a port where another process listens, to take connections there
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub accept: Option<SocketAddr>,
    /// By which protocol [default: tcp, or udp for --send]
    #[arg(long, value_enum, conflicts_with = "open")]
    pub proto: Option<Protocol>,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Find all mistakes in a policy
    Check {
        /// The policy's file
        file: PathBuf,
    },
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
