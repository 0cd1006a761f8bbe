//! Tries what a test tells it, one attempt at a time: JSON lines in, JSON lines out.

mod mounts;
mod names;
mod opens;
mod owners;
mod processes;

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use agentid_tests::attack::{Attempt, Found};
use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    say(&Found::Hello { run: std::env::var("AGENTID_INVOCATION").ok() })?;
    for line in io::stdin().lock().lines() {
        let attempt = serde_json::from_str(&line?).context("failed to read an attempt")?;
        say(&perform(attempt))?;
    }
    Ok(())
}

fn say(found: &Found) -> Result<()> {
    let mut line = serde_json::to_vec(found)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}

fn perform(attempt: Attempt) -> Found {
    let done = match attempt {
        Attempt::Exercise(power) => return Found::Errno(power.exercise()),
        Attempt::Read(path) => opens::read(&path),
        Attempt::Write { path, text } => write(&path, &text),
        Attempt::WriteInOwnProc { path, text } => mounts::write_in_own_proc(&path, &text),
        Attempt::Unmount { path, lazily } => mounts::unmount(&path, lazily),
        Attempt::MountOver(path) => mounts::mount_over(&path),
        Attempt::Move { from, onto } => mounts::move_old(&from, &onto),
        Attempt::MoveTree { from, onto } => mounts::move_tree(&from, &onto),
        Attempt::Reconfigure(path) => mounts::reconfigure(&path),
        Attempt::PivotRoot => mounts::pivot_root(),
        Attempt::Unlink(path) => std::fs::remove_file(path),
        Attempt::Rmdir(path) => std::fs::remove_dir(path),
        Attempt::Rename { from, to } => std::fs::rename(from, to),
        Attempt::Exchange { one, other } => names::exchange(&one, &other),
        Attempt::Bpf(command) => processes::bpf(command),
        Attempt::Detach(pin) => processes::detach(&pin),
        Attempt::Kill { tgid, signal } => processes::kill(tgid, signal),
        Attempt::PidfdKill { tgid, signal } => processes::pidfd_kill(tgid, signal),
        Attempt::Manage { tgid, what } => processes::manage(tgid, what),
        Attempt::SignalByFile { tgid, way } => owners::signal(tgid, way),
        Attempt::SignalOneself => owners::signal_oneself(),
        Attempt::SignalOwner(means) => owners::signal_owner(means),
        Attempt::Trace(tgid) => processes::trace(tgid),
        Attempt::BeTraced => processes::be_traced(),
        Attempt::TraceChild => processes::trace_child(),
        Attempt::StartSibling => processes::start_sibling(),
        Attempt::ReadMemory(tgid) => processes::read_memory(tgid),
        Attempt::TakeDescriptor(tgid) => processes::take_descriptor(tgid),
        Attempt::Say { socket, bytes } => {
            return match converse(&socket, &bytes) {
                Ok(text) => Found::Text(text),
                Err(error) => Found::Errno(errno(&error)),
            };
        }
        Attempt::Crowd { socket, count } => (0..count).try_for_each(|_| {
            // Until the end of this process.
            std::mem::forget(UnixStream::connect(&socket)?);
            Ok(())
        }),
        Attempt::SayElsewhere { uid, group, socket, bytes } => {
            return match processes::elsewhere(uid, group, || converse(&socket, &bytes)) {
                Ok(text) => Found::Text(text),
                Err(error) => Found::Errno(errno(&error)),
            };
        }
        Attempt::Hammer { granted, denied, threads, effort } => {
            return Found::Verdicts(opens::hammer(&granted, &denied, threads, effort));
        }
        Attempt::Chase { folder, name, effort } => {
            return match opens::chase(&folder, &name, effort) {
                Ok(verdicts) => Found::Verdicts(verdicts),
                Err(error) => Found::Errno(errno(&error)),
            };
        }
    };
    Found::Errno(done.err().map_or(0, |error| errno(&error)))
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn converse(socket: &Path, bytes: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    // The other end may have heard enough before all is said; what it answered is still to be read.
    let said = stream.write_all(bytes.as_bytes());
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if answer.is_empty() => return Err(error),
        Err(_) => {}
    }
    if answer.is_empty() {
        said?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
