//! The daemon as a guard: when it is dropped, no run is left, and nobody but the next daemon notices what else is.
//!
//! The programs stay attached for the next test's daemon, as they do between a service and its successor: loading them
//! takes longer than most tests.

use std::{
    fs::{self, OpenOptions},
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Scene, scene::PINS, shared, view::RunView, wait};

pub const AGENTIDD: &str = "/usr/bin/agentidd";
/// Loading all programs takes half a minute in a slow emulator, and several times as long beside runs that never rest.
const START: Duration = Duration::from_secs(1200);
const CHECK: Duration = Duration::from_millis(200);

/// `agentidd` in a scene of its own.
pub struct Daemon {
    scene: Scene,
    notify: UnixDatagram,
    process: Option<Child>,
}

impl Daemon {
    /// Starts a daemon with the policy `fixture`, and waits until it is ready.
    pub fn start() -> Result<Self> {
        Self::start_in(Scene::new()?)
    }

    /// Starts a daemon in this scene, and waits until it is ready.
    pub fn start_in(scene: Scene) -> Result<Self> {
        shared::end();
        Self::boot(scene)
    }

    pub(super) fn boot(scene: Scene) -> Result<Self> {
        shared::unload_at_exit();
        let socket = scene.path().join("notify");
        let notify = UnixDatagram::bind(&socket)
            .with_context(|| format!("failed to bind {}", socket.display()))?;
        let mut daemon = Self { scene, notify, process: None };
        daemon.start_again()?;
        Ok(daemon)
    }

    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The daemon's process while it runs.
    pub fn tgid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts it once more after [`Daemon::kill9`] or [`Daemon::stop`], and waits until it is ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// As [`Daemon::start_again`], with programs of its own even where the earlier ones are of the same build.
    pub fn start_anew(&mut self) -> Result<()> {
        self.start_with(&["--replace-programs"])
    }

    /// Ends the shared daemon, and unloads what an earlier test's daemon has left in the kernel.
    pub(super) fn unload_left() -> Result<()> {
        shared::end();
        if fs::exists(PINS)? { unload(&Scene::new()?) } else { Ok(()) }
    }

    fn start_with(&mut self, arguments: &[&str]) -> Result<()> {
        if self.process.is_some() {
            bail!("the daemon is running");
        }
        let log = OpenOptions::new().create(true).append(true).open(self.scene.log())?;
        let process = self
            .agentidd(arguments)
            .env("NOTIFY_SOCKET", self.scene.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {AGENTIDD}"))?;
        self.process = Some(process);
        self.await_ready()
    }

    /// SIGKILL, and the daemon is gone when this returns.
    pub fn kill9(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// SIGTERM, and the daemon is gone when this returns.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// SIGHUP: it reads its policies again.
    pub fn reload(&self) -> Result<()> {
        let process = self.tgid().context("the daemon is not running")?;
        Ok(kill(Pid::from_raw(process.cast_signed()), Signal::SIGHUP)?)
    }

    /// What the daemon has said up to now.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scene.log()).unwrap_or_else(|error| error.to_string())
    }

    fn agentidd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(AGENTIDD);
        command.arg("--config").arg(self.scene.settings()).args(arguments);
        command
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            bail!("the daemon is not running");
        };
        kill(Pid::from_raw(process.id().cast_signed()), signal)?;
        process.wait().context("failed to wait for the daemon")?;
        Ok(())
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        let mut buffer = [0; 4096];
        loop {
            let mut set = [PollFd::new(self.notify.as_fd(), PollFlags::POLLIN)];
            if poll(&mut set, PollTimeout::try_from(CHECK)?)? > 0 {
                let length = self.notify.recv(&mut buffer)?;
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                if text.lines().any(|line| line == "READY=1") {
                    return Ok(());
                }
            }
            let process = self.process.as_mut().context("the daemon is not running")?;
            if let Some(status) = process.try_wait()? {
                self.process = None;
                bail!("agentidd ended: {status}: {}", self.log());
            }
            if Instant::now() > deadline {
                // What it has begun it must not finish behind the next test's back.
                process.kill()?;
                process.wait()?;
                self.process = None;
                bail!("agentidd is not ready after {} s: {}", START.as_secs(), self.log());
            }
        }
    }

    /// Ends every run, and waits until all their tasks are gone.
    pub(super) fn end_runs(&self) -> Result<()> {
        for run in self.ps()?.iter().filter(|run| is_live(run)) {
            // One of its ancestors may have taken it along.
            if is_live(&self.show(&run.id)?) {
                self.revoke(&run.id)?;
            }
        }
        wait::until("no run is left", wait::SOON, || Ok(self.ps()?.is_empty().then_some(())))
            .with_context(|| format!("{:?}", self.ps()))
    }

    /// Ends every run and the daemon; unless what it leaves in the kernel is for the next one, that as well.
    fn clean_up(&mut self, leave: bool) -> Result<()> {
        if self.process.is_none() {
            self.start_again()?;
        }
        let ended = self.end_runs();
        // Whatever has failed: no daemon goes on behind the next test's back.
        self.stop()?;
        ended?;
        if leave && self.scene.has_usual_pins()? { Ok(()) } else { unload(&self.scene) }
    }
}

fn unload(scene: &Scene) -> Result<()> {
    let mut command = Command::new(AGENTIDD);
    super::cli::output(command.arg("--config").arg(scene.settings()).arg("unload"), &[0])?;
    Ok(())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let failing = thread::panicking();
        // A test that fails may have failed at what it found.
        let cleaned = self.clean_up(!failing);
        if failing || cleaned.is_err() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        match cleaned {
            Ok(()) => {}
            // A second panic would take the whole suite with it.
            Err(error) if failing => eprintln!("failed to clean up: {error:#}"),
            Err(error) => panic!("failed to clean up: {error:#}"),
        }
    }
}

/// Whether the run has not ended.
fn is_live(run: &RunView) -> bool {
    matches!(run.phase.as_str(), "active" | "suspended")
}
