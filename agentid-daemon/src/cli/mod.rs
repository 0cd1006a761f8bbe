//! The command line: asks the daemon, and shows what it says.

#![forbid(unsafe_code)]

mod args;
mod asked;
mod doctor;
pub mod exit;
mod failure;
mod render;
mod select;
mod table;
mod verb;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;
use rustix::process::geteuid;

use self::{
    args::{Arguments, PolicyVerb, Verb},
    verb::change::How,
};
use crate::{
    control::client::{Client, ClientError},
    kernel::come_first,
    supervisor::command::Kind,
};

/// Runs one command. An error is printed once, with its causes, on one line, and what to do about it on another.
pub fn main() -> ExitCode {
    // To understand the arguments takes longer than a task's turn.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "revoke") {
        hurry();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::SUCCESS };
            return match error.print() {
                Ok(()) => code.into(),
                Err(_) => exit::FAILURE.into(),
            };
        }
    };
    match dispatch(arguments) {
        Ok(code) => code.into(),
        Err(failure) => failure.report(),
    }
}

/// What ends runs does not wait for its turn behind each of the tasks that are to be ended. Of root alone: others may not, and
/// a run would only be denied it.
fn hurry() {
    if geteuid().is_root() && std::env::var_os(verb::run::VARIABLE).is_none() {
        come_first().unwrap_or_default();
    }
}

fn dispatch(arguments: Arguments) -> Result<u8, failure::Failure> {
    if matches!(arguments.verb, Verb::Revoke(_)) {
        hurry();
    }
    let client = || Client::new(&arguments.socket);
    match arguments.verb {
        Verb::Run(run) => verb::run::run(&arguments.socket, run),
        Verb::Delegate(delegate) => verb::run::delegate(&arguments.socket, delegate),
        Verb::Ps(ps) => verb::ps::run(&client()?, &ps),
        Verb::Tree(tree) => verb::tree::run(&client()?, &tree),
        Verb::Whoami(json) => verb::whoami::run(&client()?, &json),
        Verb::DenyOwner(owner) => verb::owner::run(&client()?, owner, true),
        Verb::AllowOwner(owner) => verb::owner::run(&client()?, owner, false),
        Verb::Completions { shell } => verb::completions::run(shell),
        Verb::Manual { folder } => verb::manual::run(&folder),
        Verb::Show(show) => verb::show::run(&client()?, &show),
        Verb::Revoke(revoke) if revoke.offline => verb::offline::revoke(&revoke),
        Verb::Revoke(revoke) => verb::revoke::run(&client()?, revoke),
        Verb::Adopt(adopt) => verb::adopt::run(&client()?, &adopt),
        Verb::Suspend(suspend) => {
            let how = How { freeze: Some(!suspend.no_freeze), ..How::default() };
            verb::change::run(&client()?, Kind::Suspend, &suspend.change, how)
        }
        Verb::Resume(change) => {
            verb::change::run(&client()?, Kind::Resume, &change, How::default())
        }
        Verb::Extend(extend) => {
            let how = How { by_ms: Some(select::millis(extend.by)), ..How::default() };
            verb::change::run(&client()?, Kind::Extend, &extend.change, how)
        }
        Verb::Events(events) => verb::events::run(&client()?, &events),
        Verb::Status(status) => verb::status::run(&client()?, &status),
        Verb::Doctor(doctor) => verb::doctor::run(&arguments.socket, &doctor),
        Verb::Why(why) => verb::why::run(&client()?, why),
        Verb::Policy { verb } => policy(verb, client),
    }
}

fn policy(
    verb: PolicyVerb,
    client: impl Fn() -> Result<Client, ClientError>,
) -> Result<u8, failure::Failure> {
    match verb {
        PolicyVerb::List(policies) => verb::policies::run(&client()?, &policies),
        PolicyVerb::Show(show) => verb::policy_show::run(client, &show),
        PolicyVerb::Explain(explain) => verb::policy_explain::run(client, *explain),
        PolicyVerb::Check { file, output } => verb::policy::check(&file, output),
        PolicyVerb::Test { file, output } => verb::policy::test(&file, output),
        PolicyVerb::Diff { before, after, exit_code, output } => {
            verb::policy_diff::run(&before, &after, exit_code, output)
        }
    }
}
