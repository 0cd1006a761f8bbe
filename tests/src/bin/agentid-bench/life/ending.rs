//! The clock of a revocation: from the request until no task of a tree is left, beside a kill of the same tree.

use std::fmt;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::start::{self, Launched, Started};
use super::tree::{self, Kind};
use super::{Table, middle};
use crate::daemon::{Daemon, SETTINGS, come_first};
use crate::settle;

/// How often each is done, and the one that is compared with the others' limit.
const TIMES: usize = 3;
const TIMES_REVOKED: usize = 9;
/// Most that an end of a run takes, of what the same tree's takes that is killed by the same means.
const LIMIT: f64 = 3.0;
const TTL: Duration = Duration::from_secs(3600);
/// Of a run whose deadline comes while the daemon is dead.
const SHORT: Duration = Duration::from_secs(4);

/// A tree that has grown.
struct Tree {
    started: Started,
    processes: Vec<Pid>,
}

/// How a tree went.
struct Gone {
    /// Until the last task had closed what it had open.
    after: Duration,
    at: SystemTime,
}

impl Tree {
    fn grow(kind: Kind, ttl: Option<Duration>) -> Result<Self> {
        let mut started = start::start(ttl, |out| tree::grow(kind, out))?;
        let processes = tree::processes(&mut started.says)?;
        Ok(Self { started, processes })
    }

    fn run(&self) -> Result<&Launched> {
        self.started.launched.as_ref().ok_or_else(|| anyhow!("no run was launched"))
    }

    /// Does something, and waits until no task is left: each of them has the pipe open on which nobody says anything more.
    fn end<T>(self, act: impl FnOnce(&Self) -> Result<T>) -> Result<(Gone, T)> {
        let mut says = self.started.says.get_ref().try_clone()?;
        let waiting = thread::spawn(move || {
            let read = says.read_to_end(&mut Vec::new());
            (read, Instant::now(), SystemTime::now())
        });
        let begun = Instant::now();
        let done = act(&self)?;
        let (read, gone, at) = waiting.join().map_err(|_| anyhow!("nobody waited"))?;
        read.context("failed to see a tree go")?;
        waitpid(self.started.process, None)?;
        Ok((Gone { after: gone - begun, at }, done))
    }
}

pub fn measure(only: Option<&str>) -> Result<Table> {
    let mut table = Table::of(format!(
        "From the request until the last of {} tasks is gone, the usual one of {TIMES} (of {TIMES_REVOKED} the usual and \
         the longest), in millions of instructions; and its ratio to kill(2) for each process of the same tree, of a \
         program to busybox's kill.\n\n\
         | the tasks | kill(2) | revoked | longest | denied, stopped by the daemon's clock | kill | agentid revoke | \
         without daemon | deadline without daemon, ms late |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        tree::TASKS
    ));
    let mut daemon = Daemon::start()?;
    for kind in Kind::ALL.into_iter().filter(|kind| only.is_none_or(|only| kind.name() == only)) {
        settle();
        let (row, still_running) = Row::measure(kind, daemon)?;
        daemon = still_running;
        eprintln!("agentid-bench: {row}");
        table.add(&row);
    }
    daemon.unload()?;
    Ok(table)
}

/// What one kind of tree takes.
struct Row {
    kind: Kind,
    killed: Duration,
    revoked: Duration,
    longest: Duration,
    /// By the daemon's clock, in microseconds.
    denied: u64,
    stopped: u64,
    by_program: Duration,
    by_command: Duration,
    alone: Duration,
    /// In milliseconds.
    late: Option<u128>,
}

impl Row {
    fn measure(kind: Kind, mut daemon: Daemon) -> Result<(Self, Daemon)> {
        let killed = times(|| Ok(killed(kind)?.after))?;
        let mut revocations = Vec::new();
        for _ in 0..TIMES_REVOKED {
            revocations.push(revoked(kind)?);
        }
        let by_program = times(|| Ok(killed_by_program(kind)?.after))?;
        let by_command = times(|| Ok(by_command(kind, &["revoke"])?.after))?;
        let mut alone = Vec::new();
        for _ in 0..TIMES {
            let tree = Tree::grow(kind, Some(TTL))?;
            daemon.die()?;
            let offline = ["revoke", "--offline", "--config", SETTINGS];
            alone.push(tree.end(|tree| agentid(tree, &offline))?.0.after);
            daemon = Daemon::start()?;
        }
        let mut late = None;
        if kind.goes_on() {
            let tree = Tree::grow(kind, Some(SHORT))?;
            let deadline = tree.run()?.deadline_ms;
            daemon.die()?;
            let (gone, ()) = tree.end(|_| Ok(()))?;
            let at = gone.at.duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
            late = Some(at.saturating_sub(u128::from(deadline)));
            daemon = Daemon::start()?;
        }
        let row = Self {
            kind,
            killed,
            revoked: middle(revocations.iter().map(|(gone, _)| gone.after))?,
            longest: revocations.iter().map(|(gone, _)| gone.after).max().unwrap_or_default(),
            denied: middle(revocations.iter().map(|(_, said)| said.0))?,
            stopped: middle(revocations.iter().map(|(_, said)| said.1))?,
            by_program,
            by_command,
            alone: middle(alone)?,
            late,
        };
        Ok((row, daemon))
    }

    /// What is asked for with a name, and how much longer it takes than a kill.
    fn ratios(&self) -> [(&'static str, f64); 3] {
        [
            ("revoked", ratio(self.revoked, self.killed)),
            ("agentid revoke", ratio(self.by_command, self.by_program)),
            ("without daemon", ratio(self.alone, self.by_program)),
        ]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(_, revoked), (_, by_command), (_, alone)] = self.ratios();
        write!(
            f,
            "| {} | {} | {} {revoked:.2} | {} | {} {} | {} | {} {by_command:.2} | {} {alone:.2} | ",
            self.kind.name(),
            millis(self.killed),
            millis(self.revoked),
            millis(self.longest),
            self.denied as f64 / 1000.0,
            self.stopped as f64 / 1000.0,
            millis(self.by_program),
            millis(self.by_command),
            millis(self.alone),
        )?;
        match self.late {
            Some(late) => write!(f, "{late} |"),
            None => write!(f, "|"),
        }
    }
}

impl Table {
    fn add(&mut self, row: &Row) {
        self.text += &format!("{row}\n");
        for (what, ratio) in row.ratios() {
            if ratio > LIMIT {
                let kind = row.kind.name();
                self.over.push(format!(
                    "{kind}: {what}: {ratio:.2} of a kill, which is more than {LIMIT}"
                ));
            }
        }
    }
}

fn times(once: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    middle(std::iter::repeat_with(once).take(TIMES).collect::<Result<Vec<_>>>()?)
}

/// Does something before all others, as root's `agentid revoke` does: a task that computes is not waited for.
fn first<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    come_first(true)?;
    let done = act();
    come_first(false)?;
    done
}

/// Of a tree that is no run.
fn killed(kind: Kind) -> Result<Gone> {
    let tree = Tree::grow(kind, None)?;
    Ok(tree.end(|tree| first(|| start::kill_all(tree.processes.iter().copied())))?.0)
}

fn killed_by_program(kind: Kind) -> Result<Gone> {
    let tree = Tree::grow(kind, None)?;
    let kill = |tree: &Tree| {
        let mut command = Command::new("/bin/busybox");
        command.args(["kill", "-9"]);
        finish(command.args(tree.processes.iter().map(Pid::to_string)))
    };
    Ok(tree.end(kill)?.0)
}

/// With when it was denied everything and when it was stopped, in microseconds, as the daemon says.
fn revoked(kind: Kind) -> Result<(Gone, (u64, u64))> {
    let tree = Tree::grow(kind, Some(TTL))?;
    let (gone, said) = tree.end(|tree| first(|| start::revoke(&tree.run()?.id)))?;
    ensure!(said.tasks == tree::TASKS as u64, "{} tasks were alive", said.tasks);
    let stopped = said.stopped_after_ms.context("it was not seen to stop")?;
    Ok((gone, ((said.denied_after_ms * 1000.0) as u64, (stopped * 1000.0) as u64)))
}

fn by_command(kind: Kind, words: &[&str]) -> Result<Gone> {
    let tree = Tree::grow(kind, Some(TTL))?;
    Ok(tree.end(|tree| agentid(tree, words))?.0)
}

fn agentid(tree: &Tree, words: &[&str]) -> Result<()> {
    finish(Command::new("/usr/bin/agentid").args(words).arg(&tree.run()?.id))
}

fn finish(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
