//! The canary: a process of ours that carries a tag no rule grants anything to.
//!
//! That programs are attached says nothing about whether they run. The canary tries a real open and a real connect,
//! and both must be denied by our programs, which its slot's own count proves. It is a child of the daemon, asked by
//! a byte on its standard input, and ends with it.

use std::{
    error::Error as _,
    fs::File,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsFd,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
};

use agentid_common::{
    capability::Capabilities,
    instance::{Activity, Instance, Ladder, NO_DEADLINE, NO_SLOT, State},
    map::CANARY_SLOT,
    tag::{COUNTED, InvocationId, Tag},
    verdict::{EACCES, Mode},
};
use aya::maps::MapError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{
    maps::{Maps, TagError},
    priority::have_come_first,
};
use crate::instance::Posture;

/// What the daemon calls itself to become the canary.
pub const ARGUMENT: &str = "canary";

/// The canary's generation; runs are numbered from below.
const GENERATION: u64 = u64::MAX;
/// How long its first word may take, in milliseconds: a new process comes up slowly on a host that has much to do.
const PATIENCE_TO_START: u16 = 30_000;
/// How long an answer may take.
const PATIENCE: u16 = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    #[error("start the canary")]
    Start(#[source] io::Error),
    #[error("talk to the canary")]
    Talk(#[source] io::Error),
    #[error("tag the canary")]
    Tag(#[from] TagError),
    #[error("write the canary's slot")]
    Slot(#[from] MapError),
}

/// The daemon's end.
pub struct Canary {
    child: Child,
    ask: ChildStdin,
    answer: ChildStdout,
}

impl Canary {
    /// Starts and tags it.
    pub fn start(maps: &mut Maps) -> Result<Self, CanaryError> {
        let mut child = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env_clear()
            .spawn()
            .map_err(CanaryError::Start)?;
        // The daemon waits for it, and ends nothing meanwhile.
        if let Err(error) = have_come_first(child.id()) {
            tracing::debug!(%error, "the canary cannot come before what runs compute");
        }
        let missing = || CanaryError::Start(io::Error::other("it has no pipes"));
        let ask = child.stdin.take().ok_or_else(missing)?;
        let answer = child.stdout.take().ok_or_else(missing)?;
        let mut canary = Self { child, ask, answer };
        // Its first word says that it has been executed: from here on it needs nothing but its two attempts.
        canary.hear(PATIENCE_TO_START).map_err(CanaryError::Talk)?;
        canary.tag(maps)?;
        Ok(canary)
    }

    fn tag(&self, maps: &mut Maps) -> Result<(), CanaryError> {
        let instance = Instance {
            generation: GENERATION,
            deadline: NO_DEADLINE,
            policy: 0,
            params: 0,
            bond: 0,
            capabilities: Capabilities::NONE,
            parent_generation: 0,
            parent: NO_SLOT,
            state: State::ACTIVE,
            mode: Mode::ENFORCE,
            ladder: Ladder::DENY,
            invocation: InvocationId::default(),
            names: 0,
            reserved: 0,
        };
        maps.activity.set(
            CANARY_SLOT,
            Activity { live: 1, started: 1, ..Activity::default() },
            0,
        )?;
        maps.instances.set(CANARY_SLOT, instance, 0)?;
        let tag = Tag {
            generation: GENERATION,
            slot: CANARY_SLOT,
            mark: COUNTED,
            invocation: InvocationId::default(),
        };
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| CanaryError::Start(io::Error::other("it has no number")))?;
        let process = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| CanaryError::Start(error.into()))?;
        Ok(maps.tags.set(process.as_fd(), &tag)?)
    }

    /// Has it try both, and looks at what became of them. One that has died or hangs proves nothing either way, so
    /// another one is asked before any run pays for it. Nor does one pay for a single denial that was none by rule, as when
    /// the kernel has no memory at hand: it is asked for again.
    pub fn prove(&mut self, maps: &mut Maps) -> Posture {
        let proved = match self.try_both(maps) {
            Ok(Posture::Enforcing) => return Posture::Enforcing,
            Ok(posture) => {
                tracing::warn!(%posture, "the canary is asked once more");
                self.try_both(maps).map_err(CanaryError::Talk)
            }
            Err(error) => {
                tracing::warn!(%error, "the canary does not answer, and is replaced");
                self.replace(maps).and_then(|()| self.try_both(maps).map_err(CanaryError::Talk))
            }
        };
        proved.unwrap_or_else(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Posture::Off(format!("the canary does not answer: {error}{cause}"))
        })
    }

    fn replace(&mut self, maps: &mut Maps) -> Result<(), CanaryError> {
        // What it still does would be counted as the next one's.
        self.end().map_err(CanaryError::Talk)?;
        *self = Self::start(maps)?;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn try_both(&mut self, maps: &Maps) -> io::Result<Posture> {
        let denied = || {
            let activity = maps.activity.get(&CANARY_SLOT, 0).map_err(io::Error::other)?;
            io::Result::Ok(activity.denied)
        };
        let before = denied()?;
        self.ask.write_all(b"?")?;
        let [open, connect] = self.hear(PATIENCE)?;
        if open != EACCES || connect != EACCES {
            return Ok(Posture::Off(format!(
                "the canary's open gave {}, its connect {}; both must be denied",
                describe(open),
                describe(connect)
            )));
        }
        Ok(match denied()?.wrapping_sub(before) {
            2 => Posture::Enforcing,
            count => Posture::Off(format!(
                "the canary was denied twice, but agentid's programs count {count} denials"
            )),
        })
    }

    /// Two errnos, within so many milliseconds.
    fn hear(&mut self, patience: u16) -> io::Result<[i32; 2]> {
        let mut waiting = [PollFd::new(self.answer.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::from(patience))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut errnos = [0; 8];
        self.answer.read_exact(&mut errnos)?;
        let [a, b, c, d, e, f, g, h] = errnos;
        Ok([i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])])
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // It ends by itself when its standard input closes; this is for one that hangs.
        if let Err(error) = self.end() {
            tracing::warn!(%error, "failed to end the canary");
        }
    }
}

fn describe(errno: i32) -> String {
    if errno == 0 { "success".to_owned() } else { io::Error::from_raw_os_error(errno).to_string() }
}

/// The canary's own program: for each byte it is given, one open and one connect, and their errnos.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let (mut ask, mut answer) = (io::stdin(), io::stdout());
    answer.write_all(&[0; 8])?;
    answer.flush()?;
    let mut byte = [0];
    while ask.read(&mut byte)? == 1 {
        let open = errno(File::open("/").map(drop));
        // The port of the discard service: nothing need listen, the attempt is refused before it is made.
        let connect = errno(connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9)));
        answer.write_all(&[open.to_ne_bytes(), connect.to_ne_bytes()].concat())?;
        answer.flush()?;
    }
    Ok(())
}

/// Not through the standard library's timeouts or retries: one call, one answer.
fn connect(peer: SocketAddrV4) -> io::Result<()> {
    std::net::TcpStream::connect(peer).map(drop)
}

fn errno(result: io::Result<()>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}
