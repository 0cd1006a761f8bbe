//! The program inside a test's run: does what it is told, one step at a time, and says how it went.
//!
//! `agentid-probe` is told steps through the memory that is its standard input, until there are no more. `agentid-probe
//! open PATH` opens one file and has the errno as its exit status, `agentid-probe relay PATH` passes TCP on to a socket, and
//! `agentid-probe nothing` does nothing. With `spawn`, `twice` or `before` and a command it starts that as a child first; see
//! `start.rs`. `agentid-probe late` goes on in the child of a child, which nobody waits for. `agentid-probe crowd` leads
//! processes that each become a run; see `crowd.rs`. `agentid-probe share` has something in common with a child; see `share.rs`. `agentid-probe bring` asks to become a run with something that none begins
//! with; see `bring.rs`.

mod access;
mod alter;
mod ask_much;
mod bring;
mod change;
mod crowd;
mod fill;
mod heard;
mod held;
mod idle;
mod inherit;
mod ioctl;
mod mapping;
mod netlink;
mod receive;
mod relay;
mod repeat;
mod resolve;
mod ring;
mod share;
mod socket;
mod start;
mod storm;
mod talk;
mod unix;
mod watch;

use std::{
    env,
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use agentid_tests::{
    channel::{Channel, Heard},
    control,
    step::{Outcome, Step},
};
use anyhow::{Context as _, Result};
use libc::EPERM;

use crate::{
    held::{Held, Mapped},
    repeat::Repeat,
    socket::Sockets,
    talk::Talk,
};

/// A wait that is over begins anew.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => serve().map(|()| ExitCode::SUCCESS),
        [verb, path] if verb == "open" => {
            Ok(u8::try_from(access::read(Path::new(path)))
                .map_or(ExitCode::FAILURE, ExitCode::from))
        }
        [verb, path] if verb == "relay" => {
            relay::relay(Path::new(path)).map(|()| ExitCode::SUCCESS)
        }
        [verb, how, socket, launch, denied] if verb == "bring" => {
            let (how, launch) = (how.to_string_lossy(), launch.to_string_lossy().into_owned());
            bring::bring(&how, socket.into(), launch, denied.into()).map(|()| ExitCode::SUCCESS)
        }
        [verb, what] if verb == "share" => {
            share::share(&what.to_string_lossy()).map(|()| ExitCode::SUCCESS)
        }
        [verb] if verb == "nothing" => Ok(ExitCode::SUCCESS),
        [verb] if verb == "late" => {
            start::leave_it_to_a_grandchild()?;
            serve().map(|()| ExitCode::SUCCESS)
        }
        [verb] if verb == "crowd" => crowd::lead().map(|()| ExitCode::SUCCESS),
        [verb, command @ ..] if verb == "spawn" => start::spawn(command),
        [verb, command @ ..] if verb == "twice" => start::twice(command),
        [verb, command @ ..] if verb == "before" => {
            start::before(command)?;
            serve().map(|()| ExitCode::SUCCESS)
        }
        other => anyhow::bail!("unknown arguments {other:?}"),
    }
}

fn serve() -> Result<()> {
    let mut channel = Channel::open(io::stdin().as_fd())?;
    channel.say(&Outcome::Hello { run: env::var("AGENTID_INVOCATION").ok() })?;
    let mut holds = Holds::default();
    loop {
        match channel.hear(PATIENCE)? {
            Heard::Word(step) => channel.say(&perform(&step, &mut holds)?)?,
            Heard::Nothing => {}
            Heard::Over => return Ok(()),
        }
    }
}

/// What lasts from one step to another.
#[derive(Default)]
struct Holds {
    repeat: Option<Repeat>,
    kept: Option<File>,
    watch: Option<File>,
    sockets: Sockets,
    talk: Talk,
    held: Option<Held>,
    mapped: Option<Mapped>,
}

fn perform(step: &Step, holds: &mut Holds) -> Result<Outcome> {
    let Holds { repeat, kept, watch, sockets, talk, held, mapped } = holds;
    Ok(match step {
        Step::Ping => Outcome::Errno(0),
        Step::Each(steps) => Outcome::Calls(each(steps, holds)?),
        Step::EndOneself { socket, reason } => {
            let request = serde_json::json!({ "reason": reason });
            // What was answered to a run that is over it cannot read.
            Outcome::Errno(control::ask(socket, "POST /v1/self/end", &request).map_or(EPERM, |_| 0))
        }
        Step::Open { path, how } => Outcome::Errno(access::open(path, *how)),
        Step::Exercise(power) => Outcome::Errno(power.exercise()),
        Step::Change(it) => Outcome::Errno(change::change(it)?),
        Step::Keep { path, how } => Outcome::Errno(alter::keep(path, *how, kept)),
        Step::OpenKept(how) => Outcome::Errno(access::open_again(kept.as_ref(), *how)?),
        Step::OpenBelowKept { path, how } => {
            Outcome::Errno(access::open_below(kept.as_ref(), path, *how)?)
        }
        Step::OpenByHandle { folder, handle } => Outcome::Errno(access::errno(handle.open(folder))),
        Step::Alter { what, file } => Outcome::Errno(alter::alter(what, file, kept.as_ref())?),
        Step::ReadAttribute { path, name } => Outcome::Errno(alter::read_attribute(path, name)?),
        Step::WriteKept => Outcome::Errno(alter::write(kept.as_ref())?),
        Step::List(path) => Outcome::Errno(alter::list(path)),
        Step::Watch(path) => Outcome::Errno(watch::begin(path, watch)),
        Step::Follow(path) => Outcome::Errno(watch::follow(path)),
        Step::ReadWatched => Outcome::Errno(watch::read(watch.as_ref())?),
        Step::AlterLent(path) => ring::set_attribute(path),
        Step::Map(mapping) => Outcome::Errno(mapping::map(mapping)),
        Step::Ioctl { on, command } => ioctl::ioctl(on, *command),
        Step::NarrowIoctl { on, command } => ioctl::narrow(on, *command),
        Step::Hold { file, other } => {
            Outcome::Errno(access::errno(Held::open(file, other).map(|it| *held = Some(it))))
        }
        Step::Use(it) => Outcome::Errno(held.as_ref().context("nothing is held")?.do_with(*it)),
        Step::Spin => idle::spin(),
        Step::Hop(until) => idle::hop(until)?,
        Step::Block(fifo) => idle::block(fifo)?,
        Step::ReadTwice(fifo) => idle::read_twice(fifo)?,
        Step::MapShared(path) => {
            Outcome::Errno(access::errno(Mapped::new(path).map(|it| *mapped = Some(it))))
        }
        Step::WriteMapped => {
            mapped.as_ref().context("nothing is mapped")?.write();
            Outcome::Errno(0)
        }
        Step::Pause => idle::pause(),
        Step::Receive => receive::receive(),
        Step::Fetch => receive::fetch(),
        Step::Exec(path) => inherit::execute(path, &["nothing".to_owned()]),
        Step::ExecWith { path, arguments } => inherit::execute(path, arguments),
        Step::ExecKept => {
            inherit::execute_open(kept.as_ref().context("no file is kept")?.as_raw_fd())
        }
        Step::ExecMemory => inherit::execute_memory(),
        Step::CheckKept => inherit::check(kept.as_ref().context("no file is kept")?.as_raw_fd()),
        Step::CheckMemory => inherit::check_memory(),
        Step::Sockets(calls) => Outcome::Calls(sockets.perform(calls)?),
        Step::Connect { to, protocol } => Outcome::Errno(access::connect(*to, *protocol)),
        Step::ConnectShort { family, length } => {
            Outcome::Errno(access::connect_short(*family, *length))
        }
        Step::Unix(step) => unix::perform(step, talk),
        Step::Netlink { protocol, kinds } => Outcome::Errno(netlink::send(*protocol, kinds)),
        Step::NetlinkTorn(length) => Outcome::Errno(netlink::send_torn(*length)),
        Step::Interfaces => Outcome::Errno(netlink::interfaces()),
        Step::Resolve(question) => resolve::resolve(question)?,
        Step::ResolveMany { question, times } => resolve::many(question, *times)?,
        Step::AskMuch(question) => resolve::begin_to_ask_much(question)?,
        Step::Call { to, protocol } => Outcome::Errno(talk.call(*to, *protocol)),
        Step::Answer(at) => Outcome::Errno(talk.answer(*at)),
        Step::PickUp => Outcome::Errno(talk.pick_up()),
        Step::Say => Outcome::Errno(talk.say()),
        Step::Flood => Outcome::Errno(talk.flood()),
        Step::Hear => Outcome::Errno(talk.hear()),
        Step::Inherit { way, path } => inherit::inherit(*way, path),
        Step::Storm { tasks, path } => Outcome::Tally(storm::storm(*tasks, path)?),
        Step::Park(processes) => inherit::park(*processes),
        Step::BeginLoop(paths) => {
            *repeat = Some(Repeat::begin(paths)?);
            Outcome::Errno(0)
        }
        Step::Count => Outcome::Tally(repeat.as_ref().map(Repeat::count).unwrap_or_default()),
        Step::EndLoop => Outcome::Tally(repeat.take().map(Repeat::end).unwrap_or_default()),
        Step::Fill(mebibytes) => fill::fill(*mebibytes),
        Step::Leave(group) => fill::leave(group),
    })
}

fn each(steps: &[Step], holds: &mut Holds) -> Result<Vec<i32>> {
    let errno = |step| match perform(step, holds)? {
        Outcome::Errno(errno) => Ok(errno),
        other => anyhow::bail!("{step:?} gave {other:?}"),
    };
    steps.iter().map(errno).collect()
}
