//! agentid on and off.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{names, rules};

const NOTIFY_SOCKET: &str = "/run/agentid-bench-notify";
pub const SETTINGS: &str = "/run/agentid-bench.toml";
const MESSAGES: &str = "/run/agentid-bench-daemon.log";
/// As `Nice=` in dist/agentid.service.
const PRIORITY: i32 = -20;
const METRICS_PORT: u16 = 9187;
/// Loading all programs takes about ten seconds in a slow emulator.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// agentid, loaded.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts the daemon with our policies and waits until it says that it is ready.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// The same with more settings.
    pub fn start_with(settings: &str) -> Result<Self> {
        rules::write_policies()?;
        let settings = format!("name_servers = [\"{}\"]\n{settings}", names::SERVER);
        fs::write(SETTINGS, settings).context("failed to write the settings")?;
        let socket = UnixDatagram::bind(NOTIFY_SOCKET).context("failed to bind a socket")?;
        socket.set_read_timeout(Some(LOOK))?;
        let child = Command::new("/usr/bin/agentidd")
            .args(["--config", SETTINGS])
            .env("NOTIFY_SOCKET", NOTIFY_SOCKET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(MESSAGES).context("failed to create a file for its messages")?)
            .spawn()
            .context("failed to start agentidd")?;
        let mut daemon = Self { child };
        set_priority(daemon.child.id(), PRIORITY)?;
        let deadline = Instant::now() + DEADLINE;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                    if text.lines().any(|line| line == "READY=1") {
                        return Ok(daemon);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("failed to hear from agentidd"),
            }
            if let Some(status) = daemon.child.try_wait()? {
                bail!("agentidd ended: {status}\n{}", messages());
            }
        }
        bail!("agentidd is not ready\n{}", messages())
    }

    /// What it has of the host's memory, in KiB.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|rest| rest.split_whitespace().next());
        size.context("the kernel does not say how large agentidd is")?.parse().map_err(Into::into)
    }

    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Stops the daemon and removes its programs, after proving that what was measured was the whole price.
    pub fn unload(mut self) -> Result<()> {
        self.wait_for_the_end_of_runs()?;
        no_record_was_lost()?;
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let status = self.child.wait().context("failed to wait for agentidd")?;
        ensure!(status.success(), "agentidd ended: {status}\n{}", messages());
        let output = Command::new("/usr/bin/agentidd").arg("unload").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "agentidd unload ended: {}\n{said}", output.status);
        fs::remove_file(NOTIFY_SOCKET).context("failed to remove a socket")
    }

    /// Ends it as a crash would; its programs stay.
    pub fn die(mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).context("failed to kill agentidd")?;
        fs::remove_file(NOTIFY_SOCKET).context("failed to remove a socket")
    }

    fn wait_for_the_end_of_runs(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let output = Command::new("/usr/bin/agentid").args(["ps", "--json"]).output()?;
            ensure!(output.status.success(), "agentid ps ended: {}", output.status);
            let runs: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)
                .context("failed to read what agentid ps says")?;
            if runs.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} runs have not ended", runs.len());
            std::thread::sleep(LOOK);
        }
    }
}

/// A denial whose record finds the ring full costs less than others.
fn no_record_was_lost() -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, METRICS_PORT))
        .context("failed to reach the daemon's metrics")?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("failed to read the daemon's metrics")?;
    let lost = text
        .lines()
        .find_map(|line| line.strip_prefix("agentid_records_lost_total "))
        .context("the metrics do not tell how many records were lost")?;
    ensure!(lost == "0", "{lost} records were lost: denials cost more than was measured");
    Ok(())
}

/// Has the calling thread come before all that is not of real time, as root's `agentid revoke` does, or be as others are.
pub fn come_first(comes: bool) -> Result<()> {
    let param = libc::sched_param { sched_priority: comes.into() };
    let policy = if comes { libc::SCHED_RR } else { libc::SCHED_OTHER };
    // SAFETY: it changes nothing but how this thread is scheduled.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const param) } != 0 {
        return Err(std::io::Error::last_os_error()).context("failed to come first");
    }
    Ok(())
}

fn set_priority(task: u32, priority: i32) -> Result<()> {
    // SAFETY: it changes nothing but the priority of that task.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, task, priority) } != 0 {
        return Err(std::io::Error::last_os_error()).context("failed to set a priority");
    }
    Ok(())
}

fn messages() -> String {
    fs::read_to_string(MESSAGES).unwrap_or_else(|error| format!("{MESSAGES}: {error}"))
}
