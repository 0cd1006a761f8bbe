//! Processes that become runs without `agentid`: each asks the daemon for itself.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use agentid_tests::control;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, pipe};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::rules;

const SOCKET: &str = "/run/agentid/control.sock";

/// A process that was started.
pub struct Started {
    pub process: Pid,
    /// Nothing where it is no run.
    pub launched: Option<Launched>,
    /// What it says, until nobody is left who has what it says that with.
    pub says: BufReader<File>,
}

/// A launch, as who asked for it saw it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launched {
    pub id: String,
    pub deadline_ms: u64,
    /// From the request until the answer was there.
    pub took: Duration,
}

/// What the daemon says of a revocation.
#[derive(Debug, Deserialize)]
pub struct Revoked {
    pub tasks: u64,
    pub remaining: u64,
    pub denied_after_ms: f64,
    pub stopped_after_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub struct RevokedAll {
    pub runs: Vec<Revoked>,
    pub denied_after_ms: f64,
    /// Nothing when it was not waited for any longer.
    pub stopped_after_ms: Option<f64>,
}

/// Starts a process that does something, as a run for so long or as none.
pub fn start(ttl: Option<Duration>, act: impl FnOnce(File) -> Result<()>) -> Result<Started> {
    let (says, writes) = pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(says);
            let outcome = become_run(ttl, writes).and_then(act);
            if let Err(error) = &outcome {
                eprintln!("agentid-bench: {error:#}");
            }
            // SAFETY: ends the child and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        ForkResult::Parent { child: process } => {
            drop(writes);
            let mut says = BufReader::new(File::from(says));
            let mut line = String::new();
            says.read_line(&mut line).context("failed to hear from a process")?;
            let launched = serde_json::from_str(&line).context("failed to start a process")?;
            Ok(Started { process, launched, says })
        }
    }
}

fn become_run(ttl: Option<Duration>, writes: OwnedFd) -> Result<File> {
    // SAFETY: a plain system call on this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut writes = control::keep_alone(writes)?;
    let launched = ttl.map(ask).transpose()?;
    writes.write_all(format!("{}\n", serde_json::to_string(&launched)?).as_bytes())?;
    Ok(writes)
}

fn ask(ttl: Duration) -> Result<Launched> {
    let body = json!({
        "policy": rules::policy(1), "agent": "bench", "owner": "bench", "task": "bench",
        "ttl_ms": u64::try_from(ttl.as_millis())?,
    });
    let begun = Instant::now();
    let answer = control::ask(Path::new(SOCKET), "POST /v1/runs", &body)?;
    let took = begun.elapsed();
    let id = answer["id"].as_str().context("the answer has no ID")?.to_owned();
    let deadline_ms = answer["deadline_ms"].as_u64().context("the answer has no deadline")?;
    Ok(Launched { id, deadline_ms, took })
}

/// Revokes a run, all of whose tasks are gone then.
pub fn revoke(id: &str) -> Result<Revoked> {
    let answer =
        control::ask(Path::new(SOCKET), &format!("POST /v1/runs/{id}/revoke"), &json!({}))?;
    let revoked = Revoked::deserialize(&answer)?;
    ensure!(revoked.remaining == 0, "{} tasks are left", revoked.remaining);
    Ok(revoked)
}

/// Revokes all runs; gives what the daemon says of the whole.
pub fn revoke_all() -> Result<RevokedAll> {
    let body = json!({ "select": { "all": true } });
    Ok(RevokedAll::deserialize(&control::ask(Path::new(SOCKET), "POST /v1/revoke", &body)?)?)
}

/// Kills processes one after the other.
pub fn kill_all(processes: impl IntoIterator<Item = Pid>) -> Result<()> {
    for process in processes {
        kill(process, Signal::SIGKILL).with_context(|| format!("failed to kill {process}"))?;
    }
    Ok(())
}
