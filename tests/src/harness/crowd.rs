//! Many runs at once as a guard, each with a process that costs little.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Daemon, scene::PROBE};
use crate::{
    channel::{Channel, Heard},
    crowd::{Cycle, Launched, Order, Report},
};

/// How often they ask, where the kernel has no memory for all of them at once.
const TRIES: usize = 5;
const LOOK: Duration = Duration::from_millis(50);
/// Thousands of launches take minutes on a slow emulator.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs whose processes only open files when they are told. Dropping it kills them.
pub struct Crowd {
    process: Child,
    channel: Channel,
}

/// The time in the middle, which a guest that was busy with something else now and then does not change.
pub fn median(times: impl Iterator<Item = u64>) -> u64 {
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The cycle in the middle, each part by itself.
pub fn usual(cycles: &[Cycle]) -> Cycle {
    let part = |of: fn(&Cycle) -> u64| median(cycles.iter().map(of));
    Cycle {
        launch: part(|cycle| cycle.launch),
        denial: part(|cycle| cycle.denial),
        revocation: part(|cycle| cycle.revocation),
    }
}

impl Crowd {
    /// An empty one of a user.
    pub fn of(uid: u32) -> Result<Self> {
        let (channel, memory) = Channel::new()?;
        let mut command = Command::new(PROBE);
        command.arg("crowd").current_dir("/").uid(uid).gid(uid);
        command.stdin(memory).stdout(Stdio::null());
        let process = command.spawn().context("failed to start the leader of a crowd")?;
        let mut crowd = Self { process, channel };
        match crowd.answer()? {
            Report::Ready => Ok(crowd),
            other => bail!("the leader of a crowd began with {other:?}"),
        }
    }

    /// More runs of a policy, below another run or below none.
    pub fn launch(
        &mut self,
        daemon: &Daemon,
        policy: &str,
        parent: Option<&str>,
        times: usize,
    ) -> Result<Vec<Launched>> {
        let (socket, launch) = (daemon.scene().socket(), body(daemon, policy, parent));
        match self.ask(&Order::Launch { socket, launch, times })? {
            Report::Launched(launched) => Ok(launched),
            other => bail!("launches gave {other:?}"),
        }
    }

    /// Runs that end as soon as they are there, so many one after another.
    pub fn jobs(&mut self, daemon: &Daemon, times: usize) -> Result<()> {
        let (socket, launch) = (daemon.scene().socket(), body(daemon, "fixture", None));
        match self.ask(&Order::Job { socket, launch, times })? {
            Report::Launched(launched) if launched.len() == times => Ok(()),
            other => bail!("jobs gave {other:?}"),
        }
    }

    /// How many members had which errno when they opened a file, each of which must live.
    pub fn open(&mut self, path: &Path) -> Result<BTreeMap<i32, usize>> {
        match self.ask(&Order::Open(path.to_owned()))? {
            Report::Opened { errnos, dead: 0 } => Ok(errnos),
            other => bail!("opens gave {other:?}"),
        }
    }

    /// All of so many members can open a file. From 7.0 on the kernel may have no memory for it where many ask at once for the
    /// first time, and has some when they ask again.
    pub fn all_open(&mut self, path: &Path, members: usize) -> Result<()> {
        let mut last = BTreeMap::new();
        for _ in 0..TRIES {
            last = self.open(path)?;
            if last == [(0, members)].into() {
                return Ok(());
            }
        }
        bail!("{members} members had these errors: {last:?}")
    }

    /// A run of `killed` is launched, and revoked by root or its user, so many times one after another.
    pub fn cycle(&mut self, daemon: &Daemon, times: usize) -> Result<Vec<Cycle>> {
        let (socket, launch) = (daemon.scene().socket(), body(daemon, "killed", None));
        match self.ask(&Order::Cycle { socket, launch, times })? {
            Report::Cycled(cycles) => Ok(cycles),
            other => bail!("cycles gave {other:?}"),
        }
    }

    fn ask(&mut self, order: &Order) -> Result<Report> {
        self.channel.say(order)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Report> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Heard::Word(report) = self.channel.hear(LOOK)? {
                return Ok(report);
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the leader of a crowd has ended: {status}");
            }
            ensure!(Instant::now() < deadline, "the leader of a crowd does not answer");
        }
    }
}

/// What a run of these tests is launched with.
fn body(daemon: &Daemon, policy: &str, parent: Option<&str>) -> Value {
    let workspace = daemon.scene().workspace();
    let mut body = json!({
        "policy": policy, "agent": "crowd", "owner": "suite", "task": "test",
        "params": { "workspace": workspace },
    });
    if let (Some(parent), Some(fields)) = (parent, body.as_object_mut()) {
        fields.insert("parent".to_owned(), parent.into());
    }
    body
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.channel.close();
        // Its members end with it.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("failed to end the leader of a crowd: {error}");
        }
    }
}
