//! COMMAND with its three streams carried to the host in frames.

use std::io::{ErrorKind, Read, Write as _};
use std::os::fd::AsFd;
use std::process::{ChildStdin, Stdio};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Pid, Uid, fchown};

use crate::port::Port;
use crate::wire::{Boot, Kind};
use crate::{command, terminal};

pub fn run(boot: &Boot, port: &Port) -> Result<u8> {
    let ended = terminal::child_signals()?;
    let mut command = command::prepare(boot, false);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().display();
            port.send(Kind::Stderr, format!("{program}: {error}\n").as_bytes())?;
            return Ok(command::start_status(&error));
        }
    };
    let id = Pid::from_raw(child.id().cast_signed());
    let mut input = Input::new(child.stdin.take().context("the command has no input")?);
    let mut stdout = child.stdout.take().context("the command has no output")?;
    let mut stderr = child.stderr.take().context("the command has no error output")?;
    // A program may open /dev/stdout anew, which asks for the owner of the pipe.
    for stream in [stdout.as_fd(), stderr.as_fd()] {
        let gid = Gid::from_raw(command::gid(boot.uid));
        fchown(stream, Some(Uid::from_raw(boot.uid)), Some(gid))?;
        fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    // The port is ready for the first chunk of input.
    port.send(Kind::Taken, &[])?;
    let mut out_open = true;
    let mut err_open = true;
    loop {
        let flags = |open| if open { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut set = vec![
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            PollFd::new(port.as_fd(), PollFlags::POLLIN),
        ];
        if out_open {
            set.push(PollFd::new(stdout.as_fd(), flags(out_open)));
        }
        if err_open {
            set.push(PollFd::new(stderr.as_fd(), flags(err_open)));
        }
        if let Some(pipe) = input.waiting() {
            set.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
        }
        poll(&mut set, PollTimeout::NONE).context("failed to wait for the command")?;
        let is_ready = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
        let (signalled, arrived) =
            (set.first().is_some_and(is_ready), set.get(1).is_some_and(is_ready));
        drop(set);
        if arrived {
            input.receive(port)?;
        }
        input.pass_on(port)?;
        out_open = out_open && pump(&mut stdout, port, Kind::Stdout)?;
        err_open = err_open && pump(&mut stderr, port, Kind::Stderr)?;
        if !signalled {
            continue;
        }
        while ended.read_signal()?.is_some() {}
        if let Some(status) = command::reap(id) {
            // What COMMAND wrote is in the pipes by now; children that it left
            // behind are not waited for.
            while out_open && pump(&mut stdout, port, Kind::Stdout)? && more(&stdout)? {}
            while err_open && pump(&mut stderr, port, Kind::Stderr)? && more(&stderr)? {}
            return Ok(status);
        }
    }
}

/// Sends one pipe's worth. `false` at its end.
fn pump(stream: &mut impl Read, port: &Port, kind: Kind) -> Result<bool> {
    let mut buffer = [0; 8192];
    match stream.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(length) => {
            port.send(kind, buffer.get(..length).unwrap_or_default())?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error).context("failed to read the command's output"),
    }
}

fn more(stream: &impl AsFd) -> Result<bool> {
    let mut set = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    poll(&mut set, PollTimeout::ZERO)?;
    Ok(set.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN))))
}

/// The host's input on its way to COMMAND: at most one chunk is held.
struct Input {
    pipe: Option<ChildStdin>,
    chunk: Vec<u8>,
    ending: bool,
}

impl Input {
    fn new(pipe: ChildStdin) -> Self {
        Self { pipe: Some(pipe), chunk: Vec::new(), ending: false }
    }

    /// The pipe, when bytes wait for room in it.
    fn waiting(&self) -> Option<&ChildStdin> {
        if self.chunk.is_empty() { None } else { self.pipe.as_ref() }
    }

    fn receive(&mut self, port: &Port) -> Result<()> {
        port.receive()?;
        while let Some(frame) = port.frame() {
            match frame {
                Ok((Kind::Stdin, bytes)) => self.chunk = bytes,
                Ok((Kind::StdinEnd, _)) => self.ending = true,
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, port: &Port) -> Result<()> {
        if !self.chunk.is_empty() {
            if let Some(pipe) = &mut self.pipe {
                // Room for a chunk is all or nothing below PIPE_BUF.
                let mut set = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut set, PollTimeout::ZERO)? == 0 {
                    return Ok(());
                }
                if pipe.write_all(&self.chunk).is_err() {
                    // COMMAND closed its input: the rest goes nowhere.
                    self.pipe = None;
                }
            }
            self.chunk.clear();
            port.send(Kind::Taken, &[])?;
        }
        if self.ending {
            self.pipe = None;
        }
        Ok(())
    }
}
