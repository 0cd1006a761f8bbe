//! Is this host ready, and is what runs on it whole?
//!
//! Each part looks at one thing and says what it saw. Nothing is changed, and nobody needs to be root; what cannot be seen
//! is said to be unseen.

pub mod daemon;
pub mod host;
pub mod service;

use std::path::Path;

use serde::Serialize;

pub use self::{
    daemon::{Heard, heard},
    host::{clock, host, space},
    service::unit,
};
use super::{failure::Failure, render, table::wrapped};
use crate::{control::client::Client, kernel, settings};

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// It works, and may not for long, or not as is meant.
    Warning,
    Failed,
    /// Nothing can be said from here.
    Unseen,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Unseen => "unseen",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub seen: String,
    /// What to do about it, unless it is ok.
    pub remedy: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self { name, state: State::Ok, seen: seen.into(), remedy: None }
    }

    pub fn new(
        name: &'static str,
        state: State,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name, state, seen: seen.into(), remedy: Some(remedy.into()) }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing has failed.
    pub healthy: bool,
    pub checks: Vec<Check>,
}

impl From<Vec<Check>> for Report {
    fn from(checks: Vec<Check>) -> Self {
        Self { healthy: !checks.iter().any(|check| check.state == State::Failed), checks }
    }
}

/// Looks at everything. `config` is the daemon's.
pub fn look(socket: &Path, config: &Path, client: &Client) -> Vec<Check> {
    let (settings, read) = match settings::read(config) {
        Ok(settings) => (settings, None),
        Err(error) => (settings::Settings::default(), Some(host::configuration(error))),
    };
    let mut checks = host(kernel::examine(&settings.bpffs));
    checks.push(clock(kernel::is_synchronised(), render::now_ms()));
    checks.extend(read);
    checks.push(space(&settings.state, rustix::fs::statvfs(&settings.state)));
    checks.push(unit(&service::systemctl()));
    checks.push(service::memory(socket));
    checks.push(host::limits(kernel::controllers()));
    let folder = daemon::folder(&settings.policies);
    checks.extend(heard(&Heard::ask(socket, client), &folder, render::now_ms()));
    checks
}

/// A line for each, and what to do below those that are not well.
pub fn text(report: &Report, quiet: bool, room: Option<usize>) -> String {
    let shown = |check: &&Check| !(quiet && check.state == State::Ok);
    let checks = &report.checks;
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { name, state, seen, remedy } in checks.iter().filter(shown) {
        let mark = format!("{:7}  {name:width$}  ", state.name());
        text += &wrapped(&mark, seen, room);
        if let Some(remedy) = remedy {
            let mark = format!("{:1$}help: ", "", mark.len());
            text += &wrapped(&mark, remedy, room);
        }
    }
    if !quiet {
        text += &summary(checks);
    }
    text
}

fn summary(checks: &[Check]) -> String {
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    let others =
        [(State::Failed, "failed"), (State::Warning, "with a warning"), (State::Unseen, "unseen")];
    let others = others.into_iter().filter(|(state, _)| number(*state) > 0);
    let others: String =
        others.map(|(state, word)| format!(", {} {word}", number(state))).collect();
    format!("{} checks: {} ok{others}\n", checks.len(), number(State::Ok))
}

/// A failure's text on one line.
fn told(failure: &Failure) -> String {
    render::clean(&failure.text())
}
