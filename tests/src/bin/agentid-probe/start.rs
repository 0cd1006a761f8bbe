//! Other programs as children, which may become runs of their own.

use std::{
    ffi::OsString,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use agentid_tests::{
    channel::{Channel, Heard},
    step::Outcome,
};
use anyhow::{Context as _, Result, bail};

const PATIENCE: Duration = Duration::from_secs(100);

fn child(command: &[OsString]) -> Result<Command> {
    let (program, arguments) = command.split_first().context("no command is given")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// A child in this process's place: its input, its output, its exit status.
pub fn spawn(command: &[OsString]) -> Result<ExitCode> {
    let status = child(command)?.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into))
}

/// The same while another child of the same kind lives, which has said its first word.
pub fn twice(command: &[OsString]) -> Result<ExitCode> {
    let (mut channel, memory) = Channel::new()?;
    let mut first = child(command)?.stdin(memory).stdout(Stdio::null()).spawn()?;
    if !matches!(channel.hear(PATIENCE)?, Heard::Word(Outcome::Hello { .. })) {
        bail!("the first child does not say anything");
    }
    let second = spawn(command);
    // It is told that there is no more, and ends.
    channel.close();
    first.wait()?;
    second
}

/// A child that has nothing to read, and is waited for.
pub fn before(command: &[OsString]) -> Result<()> {
    child(command)?.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    Ok(())
}

/// Returns in a process that has a session of its own, and whose parents have ended.
pub fn leave_it_to_a_grandchild() -> Result<()> {
    for _ in 0..2 {
        let parent = std::process::id();
        // SAFETY: this process has one thread, so that its child can do everything that it could.
        match unsafe { libc::fork() } {
            0 => {}
            child if child < 0 => return Err(std::io::Error::last_os_error()).context("fork"),
            // SAFETY: nothing is left to do for it.
            _ => unsafe { libc::_exit(0) },
        }
        // SAFETY: plain system calls.
        unsafe {
            libc::setsid();
            while libc::getppid().cast_unsigned() == parent {
                libc::sched_yield();
            }
        }
    }
    Ok(())
}
