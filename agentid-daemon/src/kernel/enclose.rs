//! Runs whose policy says what they may use of the host: each has a cgroup of its own from its launch on.
//!
//! ```text
//! /agentid                        made by us; there is never a process in it
//! /agentid/agentid-ID             what the run may use
//! /agentid/agentid-ID/own         its processes
//! /agentid/agentid-ID/agentid-ID  a run below it, which may use less, and which counts for both
//! ```
//!
//! A group that limits others below it has no process itself (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process
//! Constraint"), which is why a run cannot be limited below the group that it comes from, and why its processes are in `own`.
//! At the root of the hierarchy nobody but root may take a process out again, not even by clone3(2): it takes the right to
//! write to the group that both have in common.
//!
//! Swap is none of what a run may use: one that is at its limit would otherwise use up the host's disk. When its memory is
//! full the kernel kills one of its processes (`memory.oom.group` stays 0), and whoever has started that goes on.

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use super::{
    freezer::{FreezeError, enter, is_gone, make, whole, write},
    object::CGROUPS,
    tasks,
};
use crate::instance::Bounds;

/// The group of a run's processes, in the one that limits them.
const OWN: &str = "own";
/// What `cpu.max` counts in, in microseconds, as systemd has it.
const PERIOD: u64 = 100_000;

/// What holds a run to one of its limits.
pub const MEMORY: &str = "memory";
pub const TASKS: &str = "pids";
pub const CPU: &str = "cpu";

/// Why a run has no limits.
#[derive(Debug, thiserror::Error)]
pub enum EncloseError {
    #[error("{CGROUPS} is no cgroup v2 hierarchy")]
    NoHierarchy,
    #[error("cgroup /{} has no controller `{controller}`", at.display())]
    Absent { controller: &'static str, at: PathBuf },
    #[error("controller `{controller}` cannot be enabled below cgroup /{}", at.display())]
    Disabled { controller: &'static str, at: PathBuf, source: io::Error },
    #[error("the asking process is gone")]
    Gone,
    #[error(transparent)]
    Group(#[from] FreezeError),
}

/// What the tasks of a group have used and use; what the kernel does not count for it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub memory: Option<u64>,
    pub memory_peak: Option<u64>,
    pub tasks: Option<u64>,
    /// Microseconds of processors.
    pub cpu_us: Option<u64>,
    /// Processes that were killed because the memory was full.
    pub killed: Option<u64>,
}

/// Makes a group, unless it is there, and sets what its tasks may use.
pub fn enclose(group: &Path, bounds: &Bounds) -> Result<(), EncloseError> {
    let above: Vec<&Path> = group.ancestors().skip(1).collect();
    for at in above.into_iter().rev() {
        if at != Path::new("") {
            make(at)?;
        }
        for controller in controllers(bounds) {
            enable(at, controller)?;
        }
    }
    make(group)?;
    let max = "max".to_owned();
    let quota = |share: u32| format!("{} {PERIOD}", u64::from(share) * PERIOD / 100);
    set(group, "memory.max", bounds.memory.map(|bytes| bytes.to_string()), &max)?;
    set(group, "pids.max", bounds.tasks.map(|number| number.to_string()), &max)?;
    set(group, "cpu.max", bounds.cpu.map(quota), &format!("max {PERIOD}"))?;
    // Not there where the kernel has no swap.
    if whole(group).join("memory.swap.max").exists() {
        set(group, "memory.swap.max", bounds.memory.map(|_| "0".to_owned()), &max)?;
    }
    Ok(make(&group.join(OWN))?)
}

/// Moves the process among those of the group.
pub fn admit(group: &Path, tgid: u32, process: BorrowedFd<'_>) -> Result<(), EncloseError> {
    let own = group.join(OWN);
    // A number that was given to another process meanwhile has moved that one: whoever it is, it has no limits to escape.
    let from = super::freezer::place_of(tgid)?.ok_or(EncloseError::Gone)?;
    let moved = enter(&own, tgid)?;
    if moved && tasks::lives(process) {
        return Ok(());
    }
    if moved {
        enter(&from, tgid)?;
    }
    Err(EncloseError::Gone)
}

/// Moves a process back to where it was.
pub fn release(to: &Path, tgid: u32) -> Result<(), EncloseError> {
    enter(to, tgid)?;
    Ok(())
}

/// Whether a group was made here.
pub(super) fn is_one(group: &Path) -> bool {
    whole(group).join(OWN).is_dir()
}

/// Removes a group that was made here, in which nothing is any more.
pub(super) fn dissolve(group: &Path) -> Result<(), FreezeError> {
    let events = whole(group).join("cgroup.events");
    match fs::read_to_string(&events) {
        Ok(events) if events.lines().any(|line| line == "populated 0") => {}
        Ok(_) => return Err(FreezeError::Restless),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(source) => return Err(FreezeError::Group { what: "read", path: events, source }),
    }
    for path in [whole(group).join(OWN), whole(group)] {
        match fs::remove_dir(&path) {
            Err(source) if !is_gone(&source) => {
                return Err(FreezeError::Group { what: "remove", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the tasks of a group use.
pub fn usage(group: &Path) -> Usage {
    let text = |file| fs::read_to_string(whole(group).join(file)).ok();
    let number = |file| text(file)?.trim().parse().ok();
    let field = |file, name: &str| {
        let text = text(file)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    Usage {
        memory: number("memory.current"),
        memory_peak: number("memory.peak"),
        tasks: number("pids.current"),
        cpu_us: field("cpu.stat", "usage_usec"),
        killed: field("memory.events", "oom_kill"),
    }
}

/// What the kernel can limit on this host.
pub fn available() -> io::Result<Vec<&'static str>> {
    let text = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers"))?;
    let has = |name: &&str| text.split_whitespace().any(|found| found == *name);
    Ok([MEMORY, TASKS, CPU].into_iter().filter(has).collect())
}

fn controllers(bounds: &Bounds) -> impl Iterator<Item = &'static str> {
    let Bounds { memory, tasks, cpu } = bounds;
    let needed = [(MEMORY, memory.is_some()), (TASKS, tasks.is_some()), (CPU, cpu.is_some())];
    needed.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name)
}

/// Has a controller count for the groups below this one.
fn enable(at: &Path, controller: &'static str) -> Result<(), EncloseError> {
    let names = |file| {
        let text = fs::read_to_string(whole(at).join(file));
        let text = text.map_err(|_| EncloseError::NoHierarchy)?;
        Ok::<_, EncloseError>(text.split_whitespace().any(|name| name == controller))
    };
    if names("cgroup.subtree_control")? {
        return Ok(());
    }
    if !names("cgroup.controllers")? {
        return Err(EncloseError::Absent { controller, at: at.to_owned() });
    }
    match write(at, "cgroup.subtree_control", &format!("+{controller}")) {
        Err(FreezeError::Group { source, .. }) => {
            Err(EncloseError::Disabled { controller, at: at.to_owned(), source })
        }
        written => Ok(written?),
    }
}

/// Sets one limit, or takes it away where the controller is there.
fn set(
    group: &Path,
    file: &'static str,
    value: Option<String>,
    without: &str,
) -> Result<(), FreezeError> {
    match value {
        Some(value) => write(group, file, &value),
        None if whole(group).join(file).exists() => write(group, file, without),
        None => Ok(()),
    }
}
