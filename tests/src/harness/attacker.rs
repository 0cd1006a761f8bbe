//! The attacker as a guard: a process inside a run, or outside of any.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Daemon, Scene, wait};
use crate::attack::{Attempt, Found, Verdicts};

pub const ATTACKER: &str = "/usr/bin/agentid-attacker";

/// `agentid-attacker`. Dropping it kills it.
pub struct Attacker {
    run: Option<String>,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Attacker {
    /// Its policy leaves to the guards what it can, root's capabilities above all. Its runs go on after their end, denied.
    pub const POLICY: &str = r#"
        name = "attacker"
        ttl = "20m"
        on_end = "deny"
        ends_sandbox = true
        capabilities = [
            "bpf", "dac_read_search", "net_admin", "perfmon", "sys_admin", "sys_boot", "sys_module", "sys_ptrace",
            "sys_rawio",
        ]
        params = ["workspace"]
        [[file]]
        paths = ["/usr/**"]
        allow = ["read", "exec"]
        [[file]]
        paths = ["/proc/**", "/sys/**"]
        allow = ["read", "write", "create", "delete"]
        [[file]]
        paths = ["${workspace}/**"]
        allow = ["read", "write", "create", "delete"]
        [[file]]
        paths = ["/dev/ptmx", "/dev/pts/**"]
        allow = ["read", "write"]
    "#;

    /// A scene with the attacker's policy.
    pub fn scene() -> Result<Scene> {
        Scene::with(&[("attacker", Self::POLICY)])
    }

    /// In a run of the policy `attacker`, as a user, with the scene's workspace.
    pub fn inside(daemon: &Daemon, uid: u32) -> Result<Self> {
        Self::inside_of(daemon, uid, &daemon.scene().workspace())
    }

    /// The same with a workspace of its own.
    pub fn inside_of(daemon: &Daemon, uid: u32, workspace: &Path) -> Result<Self> {
        let mut command = daemon.agentid();
        command.args(["run", "--policy", "attacker", "--agent", "attacker", "--owner", "suite"]);
        command.args(["--task", "test", "--param"]);
        command.arg(format!("workspace={}", workspace.display())).args(["--", ATTACKER]);
        let attacker = Self::start(command, uid)?;
        ensure!(attacker.run.is_some(), "the attacker was told of no run");
        Ok(attacker)
    }

    /// Outside of any run.
    pub fn outside(uid: u32) -> Result<Self> {
        Self::start(Command::new(ATTACKER), uid)
    }

    /// The same, and told by its environment that it is this run.
    pub fn outside_told(uid: u32, run: &str) -> Result<Self> {
        let mut command = Command::new(ATTACKER);
        command.env("AGENTID_INVOCATION", run);
        Self::start(command, uid)
    }

    fn start(mut command: Command, uid: u32) -> Result<Self> {
        command.current_dir("/").uid(uid).gid(uid);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("the attacker has no input")?;
        let output = BufReader::new(process.stdout.take().context("the attacker has no output")?);
        let mut attacker = Self { run: None, process, input, output };
        match attacker.hear(wait::SOON)? {
            Found::Hello { run } => attacker.run = run,
            other => bail!("the attacker began with {other:?}"),
        }
        Ok(attacker)
    }

    /// ID of its run; empty outside of any.
    pub fn id(&self) -> &str {
        self.run.as_deref().unwrap_or_default()
    }

    pub fn tgid(&self) -> u32 {
        self.process.id()
    }

    /// The errno of an attempt; 0 when it went well.
    pub fn errno(&mut self, attempt: &Attempt) -> Result<i32> {
        match self.attempt(attempt, Duration::ZERO)? {
            Found::Errno(errno) => Ok(errno),
            other => bail!("{attempt:?} gave {other:?}"),
        }
    }

    /// What a socket answers.
    pub fn say(&mut self, socket: &Path, bytes: String) -> Result<String> {
        let attempt = Attempt::Say { socket: socket.to_owned(), bytes };
        self.begin(&attempt)?;
        self.answer()
    }

    /// What was answered to an [`Attempt::Say`] that was begun.
    pub fn answer(&mut self) -> Result<String> {
        match self.hear(wait::SOON)? {
            Found::Text(text) => Ok(text),
            other => bail!("a word to a socket gave {other:?}"),
        }
    }

    fn attempt(&mut self, attempt: &Attempt, takes: Duration) -> Result<Found> {
        self.begin(attempt)?;
        self.hear(wait::SOON + takes)
    }

    /// Has it begin what takes a while.
    pub fn begin(&mut self, attempt: &Attempt) -> Result<()> {
        let mut line = serde_json::to_vec(attempt)?;
        line.push(b'\n');
        self.input.write_all(&line).with_context(|| format!("failed to ask for {attempt:?}"))
    }

    /// What became of what takes a while.
    pub fn verdicts(&mut self, takes: Duration) -> Result<Verdicts> {
        match self.hear(wait::SOON + takes)? {
            Found::Verdicts(verdicts) => Ok(verdicts),
            other => bail!("instead of verdicts there is {other:?}"),
        }
    }

    /// Waits until somebody has ended it.
    pub fn await_end(&mut self) -> Result<ExitStatus> {
        let process = &mut self.process;
        wait::until("the attacker has ended", wait::SOON, || Ok(process.try_wait()?))
    }

    fn hear(&mut self, patience: Duration) -> Result<Found> {
        if self.output.buffer().is_empty() {
            let mut set = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
            ensure!(poll(&mut set, PollTimeout::try_from(patience)?)? > 0, "no answer in time");
        }
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the attacker has ended: {}", self.process.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("failed to read {line}"))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // It may have ended already, which both calls take well.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("failed to end an attacker: {error}");
        }
    }
}
