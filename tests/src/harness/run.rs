//! A run with the probe in it, as a guard.

use std::{
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;

use super::{
    Daemon,
    cli::AGENTID,
    scene::PROBE,
    view::{RunView, Totals},
    wait,
};
use crate::{
    channel::{Channel, Heard},
    step::{Call, Outcome, Step},
};

/// How often it is looked whether the probe is still there while it does not answer.
const LOOK: Duration = Duration::from_millis(50);

/// What a run is launched with.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub policy: &'a str,
    pub uid: u32,
    /// The scene's, unless it is another one.
    pub workspace: Option<&'a Path>,
    /// What the policy has in place of `workspace`, each as `NAME=VALUE`.
    pub params: &'a [String],
    pub parent: Option<&'a str>,
    pub ttl: Option<&'a str>,
    /// `NAME=VALUE`
    pub label: Option<&'a str>,
    pub owner: &'a str,
    pub task: &'a str,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self {
            policy: "fixture",
            uid: 0,
            workspace: None,
            params: &[],
            parent: None,
            ttl: None,
            label: None,
            owner: "suite",
            task: "test",
        }
    }
}

/// `agentid run ... -- agentid-probe`, whose process became the probe. Dropping it kills the probe.
pub struct Run {
    id: String,
    process: Child,
    /// Not a pipe: what a run has mapped outlasts its end, and its descriptors do not.
    channel: Channel,
}

impl Run {
    /// A run of `fixture` for a user.
    pub fn of(daemon: &Daemon, uid: u32) -> Result<Self> {
        Self::launch(daemon, &Terms { uid, ..Terms::default() })
    }

    /// A run whose parameter `workspace` is that of the terms.
    pub fn launch(daemon: &Daemon, terms: &Terms<'_>) -> Result<Self> {
        Self::launch_with(daemon, terms, Stdio::piped())
    }

    /// The same with this for its standard error.
    pub fn launch_with(daemon: &Daemon, terms: &Terms<'_>, error: Stdio) -> Result<Self> {
        let workspace = terms.workspace.map_or_else(|| daemon.scene().workspace(), Path::to_owned);
        let workspace = [format!("workspace={}", workspace.display())];
        let mut command = daemon.agentid();
        command.args(["run", "--policy", terms.policy, "--agent", "probe", "--owner", terms.owner]);
        command.args(["--task", terms.task]);
        for param in if terms.params.is_empty() { &workspace } else { terms.params } {
            command.args(["--param", param]);
        }
        if let Some(parent) = terms.parent {
            command.args(["--parent", parent]);
        }
        if let Some(ttl) = terms.ttl {
            command.args(["--ttl", ttl]);
        }
        if let Some(label) = terms.label {
            command.args(["--label", label]);
        }
        command.args(["--", PROBE]);
        Self::start(daemon, command, terms.uid, error)
    }

    /// A run that a run has delegated, and so on, each of one of these policies; the first one is launched. Each but the
    /// last is a probe that does what `way` says with the next: `spawn` waits for it.
    pub fn delegated(daemon: &Daemon, uid: u32, policies: &[&str], way: &str) -> Result<Self> {
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        let mut command = daemon.agentid();
        for (level, policy) in policies.iter().enumerate() {
            if level == 0 {
                command.args(["run", "--agent", "probe", "--owner", "suite", "--task", "test"]);
            } else {
                command.args([PROBE, way, AGENTID, "--socket"]).arg(daemon.scene().socket());
                command.arg("delegate");
            }
            command.args(["--policy", policy, "--param", &workspace, "--"]);
        }
        command.arg(PROBE);
        Self::start(daemon, command, uid, Stdio::piped())
    }

    /// A probe of a user that belongs to no run.
    pub fn outside(daemon: &Daemon, uid: u32) -> Result<Self> {
        let (run, id) = Self::begin(daemon, Command::new(PROBE), uid, Stdio::piped())?;
        ensure!(id.is_none(), "a probe outside of any run was told of {id:?}");
        Ok(run)
    }

    /// The run that it has become one of.
    pub fn becomes(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    /// Starts what becomes a run, or starts one.
    pub fn start(daemon: &Daemon, command: Command, uid: u32, error: Stdio) -> Result<Self> {
        let (mut run, id) = Self::begin(daemon, command, uid, error)?;
        run.id = id.context("the probe was told of no run")?;
        Ok(run)
    }

    fn begin(
        daemon: &Daemon,
        mut command: Command,
        uid: u32,
        error: Stdio,
    ) -> Result<(Self, Option<String>)> {
        command.current_dir(daemon.scene().workspace()).uid(uid).gid(uid);
        let (channel, memory) = Channel::new()?;
        command.stdin(memory).stdout(Stdio::null()).stderr(error);
        let process = command.spawn().context("failed to start agentid run")?;
        let mut run = Self { id: String::new(), process, channel };
        match run.answer(wait::SOON)? {
            Outcome::Hello { run: id } => Ok((run, id)),
            other => bail!("the probe began with {other:?}"),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The probe's process.
    pub fn tgid(&self) -> u32 {
        self.process.id()
    }

    /// The process as the kernel's calls want it.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    pub fn view(&self, daemon: &Daemon) -> Result<RunView> {
        daemon.show(&self.id)
    }

    /// What the kernel has counted of it.
    pub fn totals(&self, daemon: &Daemon) -> Result<Totals> {
        self.view(daemon)?.totals.context("the daemon knows no totals")
    }

    /// Has the probe do something, and waits for the outcome.
    pub fn ask(&mut self, step: &Step) -> Result<Outcome> {
        self.ask_within(step, wait::SOON)
    }

    /// The same for what takes longer.
    pub fn ask_within(&mut self, step: &Step, patience: Duration) -> Result<Outcome> {
        self.say(step)?;
        self.answer(patience)
    }

    /// Only asks.
    pub fn say(&mut self, step: &Step) -> Result<()> {
        self.channel.say(step)
    }

    /// The errno of a step that has one.
    pub fn errno(&mut self, step: &Step) -> Result<i32> {
        match self.ask(step)? {
            Outcome::Errno(errno) => Ok(errno),
            other => bail!("{step:?} gave {other:?}"),
        }
    }

    /// The errno of each of many steps that have one.
    pub fn errnos(&mut self, steps: Vec<Step>) -> Result<Vec<i32>> {
        match self.ask(&Step::Each(steps))? {
            Outcome::Calls(errnos) => Ok(errnos),
            other => bail!("steps gave {other:?}"),
        }
    }

    /// The errno of each call on sockets.
    pub fn calls(&mut self, calls: Vec<Call>) -> Result<Vec<i32>> {
        match self.ask(&Step::Sockets(calls))? {
            Outcome::Calls(errnos) => Ok(errnos),
            other => bail!("calls on sockets gave {other:?}"),
        }
    }

    /// The errno of the last of these calls; those before it must go well.
    pub fn last_call(&mut self, calls: Vec<Call>) -> Result<i32> {
        let errnos = self.calls(calls.clone())?;
        let (last, before) = errnos.split_last().context("nothing was called")?;
        ensure!(before.iter().all(|errno| *errno == 0), "{errnos:?} came from {calls:?}");
        Ok(*last)
    }

    /// The outcome of what was asked.
    pub fn answer(&mut self, patience: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + patience;
        loop {
            // Looked at before the last word is waited for: a probe may answer and end.
            let ended = self.process.try_wait()?;
            match self.channel.hear(if ended.is_some() { Duration::ZERO } else { LOOK })? {
                Heard::Word(outcome) => return Ok(outcome),
                Heard::Nothing | Heard::Over => {}
            }
            if let Some(status) = ended {
                bail!("the probe has ended: {status}: {}", self.complaint());
            }
            ensure!(Instant::now() < deadline, "the probe does not answer");
        }
    }

    /// Closes the probe's input, upon which it ends by itself.
    pub fn finish(mut self) -> Result<ExitStatus> {
        self.channel.close();
        self.process.wait().context("failed to wait for the probe")
    }

    /// Waits until the probe has been ended by somebody.
    pub fn await_end(&mut self) -> Result<ExitStatus> {
        let process = &mut self.process;
        wait::until("the probe has ended", wait::SOON, || Ok(process.try_wait()?))
    }

    /// What `agentid run` or the probe had to say on standard error.
    fn complaint(&mut self) -> String {
        let mut text = String::new();
        match self.process.stderr.take().map(|mut stream| stream.read_to_string(&mut text)) {
            Some(Err(error)) => error.to_string(),
            Some(Ok(_)) | None => text,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The probe may be another process than the one that was started, if that has delegated.
        self.channel.close();
        // It may have ended already, which both calls take well.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("failed to end a probe: {error}");
        }
    }
}
