//! The program inside a test's run: does what it is told, one step at a time, and says how it went.
//!
//! `agentid-probe` reads steps from standard input until it ends. `agentid-probe open PATH` opens one file and has the
//! errno as its exit status. `agentid-probe nothing` does nothing.

mod access;
mod alter;
mod change;
mod inherit;
mod ioctl;
mod mapping;
mod receive;
mod repeat;
mod ring;
mod socket;
mod storm;
mod watch;

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, Write as _},
    path::Path,
    process::ExitCode,
};

use agentid_tests::step::{Outcome, Step};
use anyhow::Result;

use crate::{repeat::Repeat, socket::Sockets};

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => serve().map(|()| ExitCode::SUCCESS),
        [verb, path] if verb == "open" => {
            Ok(u8::try_from(access::read(Path::new(path)))
                .map_or(ExitCode::FAILURE, ExitCode::from))
        }
        [verb] if verb == "nothing" => Ok(ExitCode::SUCCESS),
        other => anyhow::bail!("unknown arguments {other:?}"),
    }
}

fn serve() -> Result<()> {
    say(&Outcome::Hello { run: env::var("AGENTID_INVOCATION").ok() })?;
    let mut holds = Holds::default();
    for line in io::stdin().lock().lines() {
        let step = serde_json::from_str(&line?)?;
        say(&perform(&step, &mut holds)?)?;
    }
    Ok(())
}

/// What lasts from one step to another.
#[derive(Default)]
struct Holds {
    repeat: Option<Repeat>,
    kept: Option<File>,
    watch: Option<File>,
    sockets: Sockets,
}

fn perform(step: &Step, holds: &mut Holds) -> Result<Outcome> {
    let Holds { repeat, kept, watch, sockets } = holds;
    Ok(match step {
        Step::Ping => Outcome::Errno(0),
        Step::Open { path, how } => Outcome::Errno(access::open(path, *how)),
        Step::Change(it) => Outcome::Errno(change::change(it)?),
        Step::Keep { path, how } => Outcome::Errno(alter::keep(path, *how, kept)),
        Step::Alter { what, file } => Outcome::Errno(alter::alter(what, file, kept.as_ref())?),
        Step::WriteKept => Outcome::Errno(alter::write(kept.as_ref())?),
        Step::List(path) => Outcome::Errno(alter::list(path)),
        Step::Watch(path) => Outcome::Errno(watch::begin(path, watch)),
        Step::ReadWatched => Outcome::Errno(watch::read(watch.as_ref())?),
        Step::AlterLent(path) => ring::set_attribute(path),
        Step::Map(mapping) => Outcome::Errno(mapping::map(mapping)),
        Step::Ioctl { on, command } => ioctl::ioctl(on, *command),
        Step::NarrowIoctl { on, command } => ioctl::narrow(on, *command),
        Step::Receive => receive::receive(),
        Step::Fetch => receive::fetch(),
        Step::Exec(path) => inherit::execute(path),
        Step::ExecMemory => inherit::execute_memory(),
        Step::Sockets(calls) => Outcome::Calls(sockets.perform(calls)?),
        Step::Connect { to, protocol } => Outcome::Errno(access::connect(*to, *protocol)),
        Step::ConnectShort { family, length } => {
            Outcome::Errno(access::connect_short(*family, *length))
        }
        Step::Inherit { way, path } => inherit::inherit(*way, path),
        Step::Storm { tasks, path } => Outcome::Tally(storm::storm(*tasks, path)?),
        Step::Park(processes) => inherit::park(*processes),
        Step::BeginLoop(paths) => {
            *repeat = Some(Repeat::begin(paths)?);
            Outcome::Errno(0)
        }
        Step::Count => Outcome::Tally(repeat.as_ref().map(Repeat::count).unwrap_or_default()),
        Step::EndLoop => Outcome::Tally(repeat.take().map(Repeat::end).unwrap_or_default()),
    })
}

fn say(outcome: &Outcome) -> Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
