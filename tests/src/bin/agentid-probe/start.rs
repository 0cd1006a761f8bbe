//! Other programs as children, which may become runs of their own.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};

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
    let mut first = child(command)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = first.stdout.take().context("the first child has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let second = spawn(command);
    // Its input ends, and so does it.
    drop(first.stdin.take());
    first.wait()?;
    second
}

/// A child that has nothing to read, and is waited for.
pub fn before(command: &[OsString]) -> Result<()> {
    child(command)?.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    Ok(())
}
