//! `agentid run`: this process becomes the run.
//!
//! It finds the command, asks the daemon, which tags this very process, and then only executes: standard input and output,
//! signals and the exit status are the command's own because there is nothing in between. The daemon takes one thread
//! alone, and nothing open but its connection, so the client brings neither, and all of it is gone before the command begins.

pub(in crate::cli) mod command;
mod descriptors;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::prctl::set_no_new_privs;

use self::command::Program;
use crate::{
    cli::{
        args::{Delegate, Run},
        exit,
        failure::Failure,
        select,
    },
    control::{
        api::{DelegateRequest, LaunchReply, LaunchRequest},
        plain,
    },
};

/// How the command learns which run it is.
pub const VARIABLE: &str = "AGENTID_INVOCATION";

pub fn run(socket: &Path, arguments: Run) -> Result<u8, Failure> {
    become_run(&arguments.command, || Ok(plain::post(socket, "/v1/runs", &request(&arguments)?)?))
}

/// `agentid delegate`: the same from within a run.
pub fn delegate(socket: &Path, arguments: Delegate) -> Result<u8, Failure> {
    become_run(&arguments.command, || {
        Ok(plain::post(socket, "/v1/delegate", &delegation(&arguments)?)?)
    })
}

fn become_run(
    command: &[OsString],
    ask: impl FnOnce() -> Result<LaunchReply, Failure>,
) -> Result<u8, Failure> {
    // What the launcher had open is not the run's. Nothing of our own is open yet.
    descriptors::close_all()
        .map_err(|error| Failure::new(error, exit::NOT_LAUNCHED, "`agentid run` needs /proc"))?;
    descriptors::leave_folder();
    let program = Program::find(command)?;
    // No file is to give the run, or what it starts, what its user has not.
    set_no_new_privs().map_err(|error| {
        Failure::new(
            error,
            exit::NOT_LAUNCHED,
            "`agentid run` needs a kernel that has PR_SET_NO_NEW_PRIVS",
        )
    })?;
    let reply = ask().map_err(|failure| failure.or_away(exit::NOT_LAUNCHED))?;
    // From here on this process is held to the policy.
    let mut command = Command::new(&program.path);
    command.arg0(&program.name).args(&program.arguments).env(VARIABLE, reply.id.to_string());
    let error = command.exec();
    Err(program.failed(&error, &reply))
}

fn request(arguments: &Run) -> Result<LaunchRequest, Failure> {
    Ok(LaunchRequest {
        policy: arguments.policy.clone(),
        agent: arguments.agent.clone(),
        owner: arguments.owner.clone(),
        on_behalf_of: arguments.on_behalf_of.clone(),
        task: arguments.task.clone(),
        purpose: arguments.purpose.clone(),
        params: unique("--param", &arguments.params, folder)?,
        ttl_ms: arguments.ttl.map(select::millis),
        parent: arguments.parent.clone(),
        labels: unique("--label", &arguments.labels, ToOwned::to_owned)?,
        command: shown(&arguments.command),
    })
}

fn delegation(arguments: &Delegate) -> Result<DelegateRequest, Failure> {
    Ok(DelegateRequest {
        policy: arguments.policy.clone(),
        agent: arguments.agent.clone(),
        task: arguments.task.clone(),
        purpose: arguments.purpose.clone(),
        params: unique("--param", &arguments.params, folder)?,
        ttl_ms: arguments.ttl.map(select::millis),
        labels: unique("--label", &arguments.labels, ToOwned::to_owned)?,
        command: shown(&arguments.command),
    })
}

/// The part of a command that is kept for people.
fn shown(command: &[OsString]) -> Vec<String> {
    let command = command.iter().map(|part| part.to_string_lossy().into_owned());
    crate::supervisor::launch::shortened(&Vec::from_iter(command))
}

/// Each name once.
pub(in crate::cli) fn unique<T>(
    option: &str,
    pairs: &[(String, String)],
    value: impl Fn(&str) -> T,
) -> Result<BTreeMap<String, T>, Failure> {
    let mut map = BTreeMap::new();
    for (name, text) in pairs {
        if map.insert(name.clone(), value(text)).is_some() {
            return Err(Failure::new(
                format!("{option} {name} is given twice"),
                exit::USAGE,
                "leave one of them out",
            ));
        }
    }
    Ok(map)
}

/// The folder itself, from / on and without symbolic links. One that does not exist is left for the daemon to refuse.
pub(in crate::cli) fn folder(path: &str) -> PathBuf {
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
}
