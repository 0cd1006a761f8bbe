//! The daemon in a root without systemd.

use std::fs::OpenOptions;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const NOTIFY_SOCKET: &str = "/run/agentid-notify";
/// Loading all programs takes about ten seconds in a slow emulator.
const DEADLINE: Duration = Duration::from_secs(90);

/// Starts agentidd, whose messages go to the console, and waits for its `READY=1`.
pub fn start() -> Result<Child> {
    let socket = UnixDatagram::bind(NOTIFY_SOCKET).context("failed to bind the notify socket")?;
    let console = || OpenOptions::new().write(true).open("/dev/ttyS0");
    let mut daemon = Command::new("/usr/bin/agentidd")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("NOTIFY_SOCKET", NOTIFY_SOCKET)
        .stdin(Stdio::null())
        .stdout(console()?)
        .stderr(console()?)
        .spawn()
        .context("failed to start /usr/bin/agentidd")?;
    let signals = crate::terminal::child_signals()?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut set = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut set, timeout).context("failed to wait for the daemon")? == 0 {
            bail!("agentidd said nothing for {} s", DEADLINE.as_secs());
        }
        let [notified, _] = set.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        if notified {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).context("failed to read the notify socket")?;
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            if text.lines().any(|line| line == "READY=1") {
                return Ok(daemon);
            }
        } else {
            while signals.read_signal()?.is_some() {}
        }
        if let Some(status) = daemon.try_wait().context("failed to ask for the daemon")? {
            bail!("agentidd ended: {status}");
        }
    }
}
