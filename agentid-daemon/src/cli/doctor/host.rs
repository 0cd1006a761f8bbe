//! The kernel, the clock and the disk.

use std::{io, path::Path};

use rustix::fs::StatVfs;

use super::{Check, State};
use crate::{
    cli::render,
    kernel::{CPU, Found, MEMORY, PreflightError, Sight, TASKS},
    settings::ReadError,
};

/// Less free space is worth a word; with less records of runs cannot be written.
const LITTLE: u64 = 64 << 20;
const NOTHING: u64 = 1 << 20;
/// No host's clock shows a time before this was written: 2025 begins.
const EARLIEST_MS: u64 = 1_735_689_600_000;

/// What a start of the daemon would meet.
pub fn host(sights: Vec<Sight>) -> Vec<Check> {
    sights.into_iter().map(check).collect()
}

fn check(Sight { name, seen, found }: Sight) -> Check {
    match found {
        Found::Fine => Check::ok(name, seen),
        Found::Doubt(remedy) => Check::new(name, State::Warning, seen, remedy),
        Found::Fault(error) => {
            let state = match &error {
                PreflightError::Unreadable { source, .. } if is_denied(source) => State::Unseen,
                _ => State::Failed,
            };
            Check::new(name, state, error.what(), error.remedy())
        }
    }
}

pub fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Records and deadlines are told by the clock; what ends a run is the kernel's, which nobody sets.
pub fn clock(is_synchronised: io::Result<bool>, now_ms: u64) -> Check {
    let now = render::moment(now_ms);
    let remedy = "set it, and have it kept: timedatectl set-ntp true";
    match is_synchronised {
        _ if now_ms < EARLIEST_MS => {
            Check::new("clock", State::Failed, format!("{now}, which is long past"), remedy)
        }
        Ok(true) => Check::ok("clock", format!("{now}, and kept")),
        Ok(false) => {
            Check::new("clock", State::Warning, format!("{now}, and nobody keeps it"), remedy)
        }
        Err(error) => Check::new(
            "clock",
            State::Unseen,
            format!("{now}; whether it is kept is not known: {error}"),
            remedy,
        ),
    }
}

/// Room for records of runs.
pub fn space(state: &Path, found: rustix::io::Result<StatVfs>) -> Check {
    let path = state.display();
    match found {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let seen = format!("{} MiB free for {path}", free >> 20);
            let full = free < NOTHING || (found.f_files > 0 && found.f_favail == 0);
            let state = match free {
                _ if full => State::Failed,
                free if free < LITTLE => State::Warning,
                _ => return Check::ok("space", seen),
            };
            let remedy =
                "make room there, or have records kept for less long: keep_ended in agentid.toml";
            Check::new("space", state, seen, remedy)
        }
        Err(rustix::io::Errno::NOENT) => {
            let seen = format!("{path} is not there");
            let remedy = "the service makes it when it starts: systemctl start agentid";
            Check::new("space", State::Warning, seen, remedy)
        }
        Err(errno) => Check::new("space", State::Unseen, format!("{path}: {errno}"), "ask as root"),
    }
}

/// Whether runs can be held to what their policies let them use.
pub fn limits(found: io::Result<Vec<&'static str>>) -> Check {
    let remedy = "boot with cgroup v2 alone, and without cgroup_disable: policies with such limits \
                  are refused at a launch";
    let all = [(MEMORY, "memory"), (TASKS, "tasks"), (CPU, "cpu")];
    let names = |which: &dyn Fn(&str) -> bool| {
        let names = all.iter().filter(|(controller, _)| which(controller)).map(|(_, name)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    match found {
        Ok(found) if found.len() == all.len() => {
            Check::ok("limits", format!("{} can be limited", names(&|_| true)))
        }
        Ok(found) => {
            let missing = names(&|controller| !found.contains(&controller));
            let seen = format!("cgroup v2 does not limit {missing} here");
            Check::new("limits", State::Warning, seen, remedy)
        }
        Err(error) => {
            let seen = format!("nothing can be limited: no cgroup v2 hierarchy: {error}");
            Check::new("limits", State::Warning, seen, remedy)
        }
    }
}

/// Why the daemon's settings are not known; its defaults are taken for them.
pub fn configuration(error: ReadError) -> Check {
    let remedy = "name the daemon's own with --config; an empty file has every default";
    match error {
        ReadError::Io { file, source } if is_denied(&source) => {
            Check::new("settings", State::Unseen, format!("{file}: {source}"), "ask as root")
        }
        ReadError::Io { file, source } => {
            Check::new("settings", State::Warning, format!("{file}: {source}"), remedy)
        }
        ReadError::Mistake(mistake) => {
            let remedy = "correct it; the daemon does not start with it";
            Check::new("settings", State::Failed, render::clean(&mistake.to_string()), remedy)
        }
    }
}
