//! COMMAND with the second serial port as its terminal.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::chown;

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

use crate::command;
use crate::port::{self, Port};
use crate::wire::{Boot, Tty};

pub fn run(boot: &Boot, tty: &Tty, port: &Port) -> Result<u8> {
    let size = libc::winsize { ws_row: tty.rows, ws_col: tty.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize through the pointer; the port is open.
    unsafe { libc::ioctl(port.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &size) };
    chown(port::PATH, Some(boot.uid), Some(command::gid(boot.uid)))
        .context("failed to give the terminal to the user")?;
    let ended = child_signals()?;
    let mut command = command::prepare(boot, true);
    command.env("TERM", &tty.term).stdin(port::open()?).stdout(port::open()?).stderr(port::open()?);
    let child = match command.spawn() {
        Ok(child) => nix::unistd::Pid::from_raw(child.id().cast_signed()),
        Err(error) => {
            crate::console(&format!("failed to start the command: {error}"));
            return Ok(command::start_status(&error));
        }
    };
    loop {
        poll(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        while ended.read_signal()?.is_some() {}
        if let Some(status) = command::reap(child) {
            return Ok(status);
        }
    }
}

/// Readable when a child ended.
pub fn child_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.thread_block().context("failed to block SIGCHLD")?;
    let flags =
        nix::sys::signalfd::SfdFlags::SFD_NONBLOCK | nix::sys::signalfd::SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&set, flags).context("failed to open a signalfd")
}
