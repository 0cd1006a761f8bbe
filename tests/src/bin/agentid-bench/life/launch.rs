//! `agentid run` of the smallest program, beside bubblewrap's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

use super::idle::Idler;
use super::{Table, middle};
use crate::daemon::Daemon;
use crate::report::Grouped;
use crate::situation::{Neighbour, Run};
use crate::terrain::{ROOT, TRUE};
use crate::{rules, settle};

/// How often each is started, and how often before.
const TIMES: usize = 21;
const WARMING: usize = 3;

const BUBBLEWRAP: [&str; 6] = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc"];
const UNSHARED: [&str; 4] = ["/proc", "--unshare-all", "--die-with-parent", "--"];

/// How it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Alone,
    /// With a view of the host that is its own, and nothing else.
    BubblewrapShared,
    /// With all that it can unshare.
    Bubblewrap,
    /// As a run, when none has lived for long: what runs need is attached for it, and detached after it.
    FirstRun,
    /// As a run, when no other lives and one has lived a moment ago.
    OnlyRun,
    /// As a run beside another one.
    Run,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Alone,
        Self::BubblewrapShared,
        Self::Bubblewrap,
        Self::FirstRun,
        Self::OnlyRun,
        Self::Run,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::BubblewrapShared => "bwrap --ro-bind / / --dev /dev --proc /proc",
            Self::Bubblewrap => "the same, --unshare-all --die-with-parent",
            Self::FirstRun => "agentid run, the first in a while",
            Self::OnlyRun => "agentid run, the only run",
            Self::Run => "agentid run, beside another run",
        }
    }

    fn command(self) -> Command {
        let bubblewrap = |rest: &[&str]| {
            let mut command = Command::new("/usr/bin/bwrap");
            command.args(BUBBLEWRAP).args(rest).arg(TRUE);
            command
        };
        let mut command = match self {
            Self::Alone => Command::new(TRUE),
            Self::BubblewrapShared => bubblewrap(&["/proc", "--"]),
            Self::Bubblewrap => bubblewrap(&UNSHARED),
            Self::FirstRun | Self::OnlyRun | Self::Run => {
                let mut command = Command::new("/usr/bin/agentid");
                command.args(["run", "--policy", &rules::policy(1), "--agent", "bench"]);
                command.args(["--owner", "bench", "--task", "bench", "--", TRUE]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// Of what bubblewrap adds with all that it can take apart.
const LIMIT: f64 = 1.0;

/// Measures them all in one boot, with agentid loaded where it is needed.
pub fn measure() -> Result<Table> {
    let mut table = String::from(
        "Instructions of the whole machine until a program that does nothing has ended: the usual one of 21.\n\n\
         | | instructions | added | of what bwrap adds |\n|---|---:|---:|---:|\n",
    );
    let (mut alone, mut compared, mut over) = (0, 0, Vec::new());
    let mut daemon = None;
    for way in Way::ALL {
        if way == Way::FirstRun {
            let daemon = Daemon::start_with("detach_after = \"0s\"\n")?;
            let work = middle(from_process(way)?)?;
            daemon.unload()?;
            row(&mut table, way, work, alone, compared)?;
            continue;
        }
        if daemon.is_none() && matches!(way, Way::OnlyRun | Way::Run) {
            daemon = Some(Daemon::start()?);
        }
        let neighbour = if way == Way::Run { Some(Run::start(Neighbour::Kill)?) } else { None };
        let work = middle(from_process(way)?)?;
        neighbour.map_or(Ok(()), Run::end)?;
        match way {
            Way::Alone => alone = work,
            Way::Bubblewrap => compared = work - alone,
            Way::BubblewrapShared | Way::FirstRun | Way::OnlyRun | Way::Run => {}
        }
        row(&mut table, way, work, alone, compared)?;
        // The first run in a while finds nothing attached, and has no limit.
        let ratio = (work - alone) as f64 / compared as f64;
        if matches!(way, Way::OnlyRun | Way::Run) && ratio > LIMIT {
            over.push(format!("{}: {ratio:.3} of what bwrap adds, more than {LIMIT}", way.name()));
        }
    }
    daemon.map_or(Ok(()), Daemon::unload)?;
    Ok(Table { text: table, over })
}

fn row(table: &mut String, way: Way, work: u64, alone: u64, compared: u64) -> Result<()> {
    let added = work - alone;
    write!(table, "| {} | {} | ", way.name(), Grouped(work))?;
    match compared {
        0 => writeln!(table, "{} | |", Grouped(added))?,
        _ => writeln!(table, "{} | {:.3} |", Grouped(added), added as f64 / compared as f64)?,
    }
    Ok(())
}

/// Each in a process of its own: the root of one must be another.
fn from_process(way: Way) -> Result<Vec<u64>> {
    settle();
    let number = Way::ALL.iter().position(|one| *one == way).context("no such way")?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["launches", &number.to_string()]).stderr(Stdio::inherit());
    let output = command.output().context("failed to start the one who launches")?;
    if !output.status.success() {
        bail!("{}: {}", way.name(), output.status);
    }
    serde_json::from_slice(&output.stdout).context("failed to read the samples")
}

/// Starts the program in one way again and again, and prints how many instructions it took.
pub fn work(number: &str) -> Result<()> {
    let way = Way::ALL.get(number.parse::<usize>()?).context("there is no such way")?;
    if matches!(way, Way::Bubblewrap | Way::BubblewrapShared) {
        change_root()?;
    }
    let mut samples = Vec::new();
    for time in 0..WARMING + TIMES {
        if *way == Way::FirstRun {
            // What the run before has left is taken away within two ticks.
            settle();
        }
        let mut command = way.command();
        let idler = Idler::start()?;
        let mark = idler.mark()?;
        let status = command.status().context("failed to start it")?;
        let work = idler.since(mark)?;
        idler.end()?;
        ensure!(status.success(), "{}: {status}", way.name());
        if time >= WARMING {
            samples.push(u64::try_from(work.as_nanos())?);
        }
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&samples)?)?;
    Ok(())
}

/// bubblewrap leaves its root by pivot_root(2), which the first root of a kernel does not allow.
fn change_root() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("/"), ROOT, nothing, MsFlags::MS_REC | MsFlags::MS_BIND, nothing)
        .with_context(|| format!("failed to mount the root at {ROOT}"))?;
    // Over the first one, as at the boot of a host: who is in a chroot(2) elsewhere makes no user namespace.
    chdir(ROOT)?;
    mount(Some("."), "/", nothing, MsFlags::MS_MOVE, nothing)?;
    chroot(".")?;
    Ok(chdir("/")?)
}
