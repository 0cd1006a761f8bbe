//! A run with the probe in it, as a guard.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::Pid,
};

use super::{
    Daemon,
    scene::PROBE,
    view::{RunView, Totals},
    wait,
};
use crate::step::{Call, Outcome, Step};

/// What a run is launched with.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub policy: &'a str,
    pub uid: u32,
    pub parent: Option<&'a str>,
    pub ttl: Option<&'a str>,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { policy: "fixture", uid: 0, parent: None, ttl: None }
    }
}

/// `agentid run ... -- agentid-probe`, whose process became the probe. Dropping it kills the probe.
pub struct Run {
    id: String,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Run {
    /// A run of `fixture` for a user.
    pub fn of(daemon: &Daemon, uid: u32) -> Result<Self> {
        Self::launch(daemon, &Terms { uid, ..Terms::default() })
    }

    /// A run whose parameter `workspace` is the scene's.
    pub fn launch(daemon: &Daemon, terms: &Terms<'_>) -> Result<Self> {
        Self::launch_with(daemon, terms, Stdio::piped())
    }

    /// The same with this for its standard error.
    pub fn launch_with(daemon: &Daemon, terms: &Terms<'_>, error: Stdio) -> Result<Self> {
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        let mut command = daemon.agentid();
        command.args(["run", "--policy", terms.policy, "--agent", "probe", "--owner", "suite"]);
        command.args(["--task", "test", "--param", &workspace]);
        if let Some(parent) = terms.parent {
            command.args(["--parent", parent]);
        }
        if let Some(ttl) = terms.ttl {
            command.args(["--ttl", ttl]);
        }
        command.args(["--", PROBE]).current_dir(daemon.scene().workspace());
        command.uid(terms.uid).gid(terms.uid);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(error);
        let mut process = command.spawn().context("failed to start agentid run")?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("the run has no output")?);
        let mut run = Self { id: String::new(), process, input, output };
        match run.answer(wait::SOON)? {
            Outcome::Hello { run: Some(id) } => run.id = id,
            other => bail!("the probe began with {other:?}"),
        }
        Ok(run)
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
        let mut line = serde_json::to_vec(step)?;
        line.push(b'\n');
        let input = self.input.as_mut().context("the probe has no input")?;
        input.write_all(&line).with_context(|| format!("failed to ask for {step:?}"))
    }

    /// The errno of a step that has one.
    pub fn errno(&mut self, step: &Step) -> Result<i32> {
        match self.ask(step)? {
            Outcome::Errno(errno) => Ok(errno),
            other => bail!("{step:?} gave {other:?}"),
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
        if self.output.buffer().is_empty() {
            let mut set = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(patience)?;
            ensure!(poll(&mut set, patience)? > 0, "the probe does not answer");
        }
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            let status = self.process.wait()?;
            bail!("the probe has ended: {status}: {}", self.complaint());
        }
        serde_json::from_str(&line).with_context(|| format!("failed to read {line}"))
    }

    /// Closes the probe's input, upon which it ends by itself.
    pub fn finish(mut self) -> Result<ExitStatus> {
        drop(self.input.take());
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
        // It may have ended already, which both calls take well.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("failed to end a probe: {error}");
        }
    }
}
