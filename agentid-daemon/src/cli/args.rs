//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand};

use super::{
    asked::{Asked, OBJECTS},
    exit,
};

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
    /// From within a run: execute a command as a run below it
    Delegate(Delegate),
    /// List runs
    Ps(Ps),
    /// Show runs with those that they have delegated, and their processes: all, or those that are meant
    Tree(Tree),
    /// Say who asks, as the daemon sees it; with --quiet the ID of the run alone, and nothing where there is none
    Whoami(Quiet),
    /// Have nothing launched for an owner any more; what lives goes on
    DenyOwner(Owner),
    /// Have runs launched for an owner again
    AllowOwner(Owner),
    /// Print what a shell needs to complete command lines
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the pages of the manual into a folder: one for the command, and one for each verb
    #[command(hide = true)]
    Manual {
        /// An existing folder
        folder: PathBuf,
    },
    /// Make processes that run already a run
    Adopt(Box<Adopt>),
    /// Show all of one run, or of each that is meant
    Show(Show),
    /// End runs and all below them, for good
    Revoke(Revoke),
    /// Deny runs, and all below them, everything, and have their tasks stand still, until they are resumed
    Suspend(Suspend),
    /// Let suspended runs go on
    Resume(Change),
    /// Give runs more time, as far as their policies allow
    Extend(Extend),
    /// Show what runs did, and what the kernel said; with --follow also of runs that are launched later and are meant
    Events(Events),
    /// Show what this host enforces; with --quiet the exit status alone says whether all of it is
    Status(Quiet),
    /// Look whether this host can enforce, and whether what runs is whole
    Doctor(Doctor),
    /// Say whether a run would be allowed something, and by which rule
    Why(Why),
    /// Look at policies: those in force, and files
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
    /// Whom the work is done for, where that is not the owner
    #[arg(long, value_name = "NAME")]
    pub on_behalf_of: Option<String>,
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
    #[arg(long, value_name = "DURATION", value_parser = duration)]
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
#[command(group = ArgGroup::new("from").required(true).args(["pid", "cgroup", "unit"]))]
pub struct Adopt {
    /// A process, with all that have come from it
    #[arg(long)]
    pub pid: Option<u32>,
    /// All processes of a cgroup, such as /sys/fs/cgroup/system.slice/builder.service
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// All processes of a unit of systemd
    #[arg(long)]
    pub unit: Option<String>,
    /// Name of the policy
    #[arg(long, value_name = "NAME")]
    pub policy: String,
    /// The kind of software that is run
    #[arg(long)]
    pub agent: String,
    /// The person or team who answers for the run
    #[arg(long)]
    pub owner: String,
    /// Whom the work is done for, where that is not the owner
    #[arg(long, value_name = "NAME")]
    pub on_behalf_of: Option<String>,
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
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ttl: Option<Duration>,
    /// ID of the run above this one, whose rules and life bind this one too
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// A label
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Nothing but the run's whole ID
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Delegate {
    /// Name of the policy; one that the run's own policy delegates to
    #[arg(long, value_name = "NAME")]
    pub policy: String,
    /// The kind of software that is run; the run's own without it
    #[arg(long)]
    pub agent: Option<String>,
    /// What the new run works on; what this one works on without it
    #[arg(long)]
    pub task: Option<String>,
    /// Why, in words; as for this run without it
    #[arg(long)]
    pub purpose: Option<String>,
    /// A folder for a parameter of the policy
    #[arg(long = "param", value_name = "NAME=FOLDER", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// How long the new run may live, such as 90s, 30m or 2h; never longer than this one
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ttl: Option<Duration>,
    /// A label
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// How an answer is given
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// Nothing but errors; the exit status says the rest
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

/// Runs by what they are; all that is given must hold
#[derive(Clone, Debug, Default, Args)]
pub struct Filters {
    /// Runs of this kind of software
    #[arg(long)]
    pub agent: Option<String>,
    /// Runs that this person or team answers for
    #[arg(long)]
    pub owner: Option<String>,
    /// Runs that work on this
    #[arg(long)]
    pub task: Option<String>,
    /// Runs of this policy, whatever its version
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Runs with this label; several must all be there
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Runs that were launched at least this long ago, such as 90s, 30m or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Runs right below this one
    #[arg(long, value_name = "ID")]
    pub children_of: Option<String>,
}

/// One run, or all that the filters leave
#[derive(Clone, Debug, Default, Args)]
pub struct Selected {
    /// The run: its ID, or enough of the start or the end of it
    #[arg(conflicts_with_all = FILTERS)]
    pub id: Option<String>,
    #[command(flatten)]
    pub filters: Filters,
    /// All runs that you may see
    #[arg(long)]
    pub all: bool,
}

/// The same, and never nothing, where runs are touched
#[derive(Clone, Debug, Default, Args)]
#[command(group = ArgGroup::new("selection").required(true).multiple(true).args(SELECTION))]
pub struct Selection {
    #[command(flatten)]
    pub runs: Selected,
    /// Do not ask before more than one named run is touched
    #[arg(long, short)]
    pub yes: bool,
}

const FILTERS: [&str; 8] =
    ["agent", "owner", "task", "policy", "labels", "older_than", "children_of", "all"];
const SELECTION: [&str; 9] =
    ["id", "agent", "owner", "task", "policy", "labels", "older_than", "children_of", "all"];

#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    pub selection: Selection,
    /// Why, for the record
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Suspend {
    #[command(flatten)]
    pub change: Change,
    /// Let the tasks go on, denied everything
    #[arg(long)]
    pub no_freeze: bool,
}

#[derive(Debug, Args)]
pub struct Extend {
    #[command(flatten)]
    pub change: Change,
    /// By how much, such as 90s, 30m or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub by: Duration,
}

#[derive(Debug, Args)]
pub struct Ps {
    #[command(flatten)]
    pub filters: Filters,
    /// Also those that have ended
    #[arg(long, short)]
    pub all: bool,
    /// Nothing but whole IDs
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("selection").required(true).multiple(true).args(SELECTION))]
pub struct Show {
    #[command(flatten)]
    pub runs: Selected,
    /// Of the runs that filters leave, also those that have ended
    #[arg(long, conflicts_with = "id")]
    pub ended: bool,
    /// Nothing but whole IDs
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Tree {
    #[command(flatten)]
    pub runs: Selected,
    /// Nothing but whole IDs
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    pub selection: Selection,
    /// From within a run: that run itself
    #[arg(
        long = "self",
        group = "selection",
        conflicts_with_all = SELECTION,
        conflicts_with_all = ["kill", "offline", "yes"]
    )]
    pub own: bool,
    /// Why, for the record
    #[arg(long)]
    pub reason: Option<String>,
    /// Kill the tasks whatever the policy says, also those that a run which is over has left
    #[arg(long)]
    pub kill: bool,
    /// As root, while there is no daemon: write to the kernel's tables from here
    #[arg(long)]
    pub offline: bool,
    /// The daemon's configuration, which tells where its state is
    #[arg(
        long,
        value_name = "FILE",
        requires = "offline",
        default_value = "/etc/agentid/agentid.toml"
    )]
    pub config: PathBuf,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Only of this run
    #[arg(long, conflicts_with_all = FILTERS)]
    pub id: Option<String>,
    #[command(flatten)]
    pub filters: Filters,
    /// Only of runs, all that you may see, and nothing of the host
    #[arg(long)]
    pub all: bool,
    /// At most so many past events [default: all, or none with --follow]
    #[arg(long, value_name = "NUMBER")]
    pub last: Option<usize>,
    /// Only those after the event with this number, which --json shows as seq
    #[arg(long, value_name = "NUMBER", conflicts_with = "last")]
    pub after: Option<u64>,
    /// For programs: one JSON object in each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// The daemon's configuration, which tells where its state and its policies are
    #[arg(long, value_name = "FILE", default_value = "/etc/agentid/agentid.toml")]
    pub config: PathBuf,
    /// Nothing but what is not well
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Quiet {
    /// As little as there is to say
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Owner {
    /// The person or team, as launches name it
    pub owner: String,
    /// Why, for the record
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("object").required(true).args(OBJECTS).arg("own"))]
pub struct Why {
    /// The run: its ID, or enough of the start or the end of it
    #[arg(required_unless_present = "own", conflicts_with = "own")]
    pub id: Option<String>,
    /// From within a run: what it was denied, and what would allow it
    #[arg(long = "self", conflicts_with = "proto")]
    pub own: bool,
    #[command(flatten)]
    pub object: Asked,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// List the policies that are in force
    List(Policies),
    /// Show what a policy says, its rules by the numbers that records have
    Show(ShowPolicy),
    /// Say whether a run of a policy would be allowed something, and by which rule
    Explain(Box<Explain>),
    /// Find all mistakes in a policy, and try what it expects of itself
    Check {
        /// The policy's file
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Say which of a policy's expectations hold, and what the rules say where one does not
    Test {
        /// The policy's file
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Say what another version of a policy allows and denies, and this one does not
    Diff {
        /// The file of the policy as it was
        before: PathBuf,
        /// The file of the policy as it is to be
        after: PathBuf,
        /// End with status 6 when they differ
        #[arg(long)]
        exit_code: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct Policies {
    /// Nothing but names
    #[arg(long, short)]
    pub quiet: bool,
    /// For programs
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

/// A policy, and where it is
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// In force under this name, or as this `NAME@VERSION`.
    InForce(String),
    File(PathBuf),
}

impl std::str::FromStr for Which {
    type Err = std::convert::Infallible;

    /// No policy's name has a slash or a dot in it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_file = text.contains(['/', '.']);
        Ok(if is_file { Self::File(text.into()) } else { Self::InForce(text.to_owned()) })
    }
}

#[derive(Debug, Args)]
pub struct ShowPolicy {
    /// Its name, also with its version, or its file, which has a dot or a slash in it
    #[arg(value_name = "NAME[@VERSION]|FILE")]
    pub policy: Which,
    /// Its text, exactly
    #[arg(long, conflicts_with = "json")]
    pub text: bool,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("object").required(true).args(OBJECTS))]
pub struct Explain {
    /// Its name, also with its version, or its file, which has a dot or a slash in it
    #[arg(value_name = "NAME[@VERSION]|FILE")]
    pub policy: Which,
    #[command(flatten)]
    pub object: Asked,
    /// A folder for a parameter of the policy; questions about files need all of them
    #[arg(long = "param", value_name = "NAME=FOLDER", value_parser = pair)]
    pub params: Vec<(String, String)>,
    #[command(flatten)]
    pub output: Output,
}

/// A time, as policies write it.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = |_| "expected a time such as 90s, 30m or 2h".to_owned();
    humantime::parse_duration(text).map_err(expected)
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
