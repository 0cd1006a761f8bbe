//! `agentid` as an operator types it.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Daemon,
    view::{Event, Revoked, RunView, Status, Why},
    wait,
};
use crate::control;

pub const AGENTID: &str = "/usr/bin/agentid";
/// What `agentid` says when the daemon has ended an exchange before it was over: it gives a request five seconds, which a
/// guest that has much to do may not have left for it.
const ENDED_EARLY: &str = "connection closed before message completed";
/// How long the daemon waits for tasks that it has killed before it answers all the same.
const WAITS_FOR_KILLED: Duration = Duration::from_secs(10);

impl Daemon {
    /// `agentid` for this daemon.
    pub fn agentid(&self) -> Command {
        let mut command = Command::new(AGENTID);
        command.arg("--socket").arg(self.scene().socket());
        command
    }

    /// The live runs.
    pub fn ps(&self) -> Result<Vec<RunView>> {
        parse(&read(self.agentid().args(["ps", "--json"]))?)
    }

    pub fn show(&self, id: &str) -> Result<RunView> {
        parse(&read(self.agentid().args(["show", "--json", id]))?)
    }

    pub fn revoke(&self, id: &str) -> Result<Revoked> {
        json(self.agentid().args(["revoke", "--json", id]))
    }

    /// Ends a run of a policy that kills. No task is left when that is answered, or soon after it where the daemon has
    /// waited as long as it does.
    pub fn revoke_and_kill(&self, id: &str) -> Result<Revoked> {
        let begun = Instant::now();
        let revoked = self.revoke(id)?;
        let given_up = begun.elapsed() >= WAITS_FOR_KILLED;
        ensure!(revoked.remaining == 0 || given_up, "{revoked:?} after {:?}", begun.elapsed());
        wait::until("the run is over and empty", wait::SOON, || {
            let view = self.show(id)?;
            Ok((view.phase == "ended" && view.tasks == 0).then_some(()))
        })?;
        Ok(revoked)
    }

    /// `agentid` with these arguments and `--json`, read as what it prints.
    pub fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        json(self.agentid().args(arguments).arg("--json"))
    }

    /// What `agentid` with these arguments complains about; it must end with this status.
    pub fn complaint(&self, uid: u32, status: i32, arguments: &[&str]) -> Result<String> {
        let mut command = self.agentid();
        let done = command.args(arguments).uid(uid).gid(uid).stdin(Stdio::null()).output()?;
        if done.status.code() != Some(status) {
            bail!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    pub fn status(&self) -> Result<Status> {
        // 1 says that not everything is enforced.
        parse(&output(self.agentid().args(["status", "--json"]), &[0, 1])?)
    }

    /// Everything that is known to have happened to or in a run, the oldest first.
    pub fn events(&self, id: &str) -> Result<Vec<Event>> {
        let text = read(self.agentid().args(["events", "--json", "--id", id]))?;
        let parse = |line| serde_json::from_str(line).with_context(|| format!("read {line}"));
        text.lines().map(parse).collect()
    }

    /// What has happened to it last.
    pub fn last_event(&self, id: &str) -> Result<Option<Event>> {
        let text = read(self.agentid().args(["events", "--json", "--last", "1", "--id", id]))?;
        let parse = |line| serde_json::from_str(line).with_context(|| format!("read {line}"));
        text.lines().last().map(parse).transpose()
    }

    /// What has happened to a run, as people read it.
    pub fn story(&self, id: &str) -> Result<String> {
        read(self.agentid().args(["events", "--id", id]))
    }

    /// The daemon's own answer to whether a run may open a file; `option` says what for.
    pub fn why_open(&self, id: &str, path: &Path, option: Option<&str>) -> Result<Why> {
        let mut command = self.agentid();
        command.args(["why", "--json", id, "--open"]).arg(path).args(option);
        // 3 says that it is denied.
        parse(&output(&mut command, &[0, 3])?)
    }

    /// The same of another question, asked without `agentid`, which takes long to start.
    pub fn why(&self, id: &str, question: &Value) -> Result<Why> {
        let line = format!("POST /v1/runs/{id}/why");
        Ok(serde_json::from_value(control::ask(&self.scene().socket(), &line, question)?)?)
    }

    /// What `agentid show` prints.
    pub fn show_text(&self, id: &str) -> Result<String> {
        read(self.agentid().args(["show", id]))
    }

    /// What `agentid why` prints.
    pub fn why_text(&self, id: &str, question: &[&str]) -> Result<String> {
        output(self.agentid().args(["why", id]).args(question), &[0, 3])
    }

    /// The daemon's own answer to whether a run may connect.
    pub fn why_connect(&self, id: &str, to: std::net::SocketAddr) -> Result<Why> {
        self.why_end(id, "--connect", to, "tcp")
    }

    /// The daemon's own answer to whether a run may do this, as an option of the command says it.
    pub fn why_end(
        &self,
        id: &str,
        option: &str,
        end: std::net::SocketAddr,
        proto: &str,
    ) -> Result<Why> {
        let mut command = self.agentid();
        command.args(["why", "--json", id, option, &end.to_string(), "--proto", proto]);
        parse(&output(&mut command, &[0, 3])?)
    }
}

fn json<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    parse(&output(command, &[0])?)
}

/// Standard output of what changes nothing, and is asked once more when the daemon had no time for it.
fn read(command: &mut Command) -> Result<String> {
    match output(command, &[0]) {
        Err(failure) if failure.to_string().contains(ENDED_EARLY) => {
            eprintln!("asked once more: {failure}");
            output(command, &[0])
        }
        answer => answer,
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("failed to read {text}"))
}

/// Standard output of a command that must end with one of these statuses.
pub fn output(command: &mut Command, statuses: &[i32]) -> Result<String> {
    let done = command.output().with_context(|| format!("failed to start {command:?}"))?;
    if !done.status.code().is_some_and(|status| statuses.contains(&status)) {
        bail!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
