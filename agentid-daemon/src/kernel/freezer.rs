//! The freezer of cgroup v2: the tasks of a run stand still until they are let go or killed.
//!
//! A run has no group of its own until somebody wants to hold it, unless its policy limits what it uses (`enclose.rs`): then one is made below the group that each of its processes
//! is in, and they are moved there. Moving every run at its launch would cost each launch the grace period that a move
//! waits for (kernel/cgroup/cgroup.c: `cgroup_attach_lock`). Below, so that what is set for the group they come from goes on
//! to hold for them, and whoever ends that group ends them. A group is a handle and no identity: the tag decides, here too.
//!
//! A task that is killed does not stay frozen (Documentation/admin-guide/cgroup-v2.rst, `cgroup.freeze`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Component, Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use agentid_common::tag::Tag;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{
    enclose,
    maps::{TagError, Tags},
    object::CGROUPS,
    tasks::{self, ReadError, StopError},
};

/// Processes that a fork brings in while others are moved are found by another look; so often that none is left, unless
/// somebody else moves them about.
const LOOKS: usize = 8;

/// Runs by slot and generation.
pub type Runs = BTreeMap<u32, u64>;

/// Why the tasks of a run do not stand still.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    #[error(transparent)]
    List(Box<ReadError>),
    #[error(transparent)]
    Hold(Box<StopError>),
    #[error("tell which process is in the group")]
    Tag(#[source] Box<TagError>),
    #[error(
        "find the group of process {tgid}: it is in none of the cgroup v2 hierarchy at {CGROUPS}"
    )]
    NoGroup { tgid: u32 },
    #[error("{what} {}", path.display())]
    Group { what: &'static str, path: PathBuf, source: io::Error },
    #[error("move the processes into the group: others move them out as fast")]
    Restless,
}

impl From<ReadError> for FreezeError {
    fn from(error: ReadError) -> Self {
        Self::List(Box::new(error))
    }
}

impl From<StopError> for FreezeError {
    fn from(error: StopError) -> Self {
        Self::Hold(Box::new(error))
    }
}

impl From<TagError> for FreezeError {
    fn from(error: TagError) -> Self {
        Self::Tag(Box::new(error))
    }
}

/// Moves all processes of the runs into groups of this name, and has those stand still. The groups are added to `groups`, by
/// their places below the root of the hierarchy. What has been frozen stays so when something fails.
pub fn freeze(
    mut list: impl FnMut() -> Result<File, ReadError>,
    tags: &Tags,
    runs: &Runs,
    name: &str,
    groups: &mut BTreeSet<PathBuf>,
) -> Result<(), FreezeError> {
    for _ in 0..LOOKS {
        // One that has gone since it was listed may have left another.
        let mut moved = false;
        for (tgid, slot, generation) in tasks::processes(list()?, runs)? {
            let Some(at) = place_of(tgid)? else { continue };
            let Some(process) = tasks::hold(tags, tgid, slot, generation)? else {
                moved = true;
                continue;
            };
            if let Some(own) = within(&at, name) {
                groups.insert(own);
                continue;
            }
            let own = at.join(name);
            make(&own)?;
            groups.insert(own.clone());
            // Still first: it comes to rest as it is moved.
            write(&own, "cgroup.freeze", "1")?;
            enter(&own, tgid)?;
            moved = true;
            // A number that was given to another process meanwhile has moved that one.
            if !tasks::lives(process.as_fd()) {
                put_back(&own, |tag| is_of(tag, runs), tags)?;
            }
        }
        for group in groups.iter() {
            write(group, "cgroup.freeze", "1")?;
        }
        if !moved {
            return Ok(());
        }
    }
    Err(FreezeError::Restless)
}

/// Waits until everything in the groups stands still, but not longer than that: a task that waits for a disk comes to rest
/// when it has what it waits for.
pub fn settle(groups: &BTreeSet<PathBuf>, patience: Duration) -> Result<(), FreezeError> {
    let begun = Instant::now();
    for group in groups {
        let path = whole(group).join("cgroup.events");
        loop {
            let events = fs::read_to_string(&path);
            let events = events.map_err(|source| {
                let path = path.clone();
                FreezeError::Group { what: "read", path, source }
            })?;
            if events.lines().any(|line| line == "frozen 1") || begun.elapsed() > patience {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Lets the tasks of the runs go on, in these groups and in any other of this name in which there is one of them.
pub fn thaw(
    list: File,
    runs: &Runs,
    name: &str,
    mut groups: BTreeSet<PathBuf>,
) -> Result<(), FreezeError> {
    // One that fails keeps no other from going on.
    let mut outcome = Ok(());
    for (tgid, _, _) in tasks::processes(list, runs)? {
        match place_of(tgid) {
            Ok(at) => groups.extend(at.and_then(|at| within(&at, name))),
            Err(error) => outcome = Err(error),
        }
    }
    for group in groups {
        match write(&group, "cgroup.freeze", "0") {
            Err(FreezeError::Group { source, .. }) if is_gone(&source) => {}
            written => outcome = written.and(outcome),
        }
    }
    outcome
}

/// Removes a group that is no longer needed; what is in it goes on where the group was made. Not done while a group
/// below it is there.
pub fn remove(group: &Path, tags: &Tags) -> Result<(), FreezeError> {
    if enclose::is_one(group) {
        return enclose::dissolve(group);
    }
    let path = whole(group);
    match fs::read_to_string(path.join("cgroup.events")) {
        Err(error) if is_gone(&error) => return Ok(()),
        // A task that exits may keep whoever removes its group waiting.
        Ok(events) if !events.lines().any(|line| line == "populated 1") => {}
        _ => {
            write(group, "cgroup.freeze", "0")?;
            put_back(group, |_| false, tags)?;
            return Err(FreezeError::Restless);
        }
    }
    match fs::remove_dir(&path) {
        Err(error) if is_gone(&error) => Ok(()),
        removed => removed.map_err(|source| FreezeError::Group { what: "remove", path, source }),
    }
}

/// All groups whose names this takes, by their places below the root; those further in first.
pub fn find(takes: &impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    search(Path::new(""), takes, &mut found);
    found
}

/// What users have made in folders of their own is not ours, whatever its name, and what cannot be listed is none of it.
fn search(group: &Path, takes: &impl Fn(&str) -> bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(whole(group)) else { return };
    let folders = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_type().ok()?.is_dir().then(|| entry.file_name())
    });
    for name in folders.collect::<Vec<_>>() {
        search(&group.join(name), takes, found);
    }
    let named = group.file_name().and_then(OsStr::to_str).is_some_and(takes);
    if named && fs::metadata(whole(group)).is_ok_and(|it| it.uid() == 0) {
        found.push(group.to_owned());
    }
}

fn is_of(tag: Tag, runs: &Runs) -> bool {
    runs.get(&tag.slot) == Some(&tag.generation)
}

/// The group that a process is in, below the root of the hierarchy; `None` when nothing of it lives.
///
/// One whose first thread has ended is where its others are: what has exited is moved nowhere.
pub(super) fn place_of(tgid: u32) -> Result<Option<PathBuf>, FreezeError> {
    match living_thread(tgid) {
        Some(thread) => {
            group_of(tgid, &PathBuf::from(format!("/proc/{tgid}/task/{thread}/cgroup")))
        }
        None => Ok(None),
    }
}

/// A thread of a process that has not exited.
pub(super) fn living_thread(tgid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{tgid}/task")).ok()?;
    let names = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.into_iter().find(|thread: &u32| {
        let stat = fs::read(format!("/proc/{tgid}/task/{thread}/stat")).unwrap_or_default();
        // The state comes after the name, which is in parentheses and may hold any.
        let end = stat.iter().rposition(|byte| *byte == b')');
        end.and_then(|end| stat.get(end + 2)).is_some_and(|state| !matches!(state, b'Z' | b'X'))
    })
}

fn group_of(tgid: u32, path: &Path) -> Result<Option<PathBuf>, FreezeError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => {
            return Err(FreezeError::Group { what: "read", path: path.to_owned(), source });
        }
    };
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"0::/"));
    let at = line.map(|line| Path::new(OsStr::from_bytes(line)));
    let at = at.ok_or(FreezeError::NoGroup { tgid })?;
    // One of another namespace is told by dots.
    let plain = at.components().all(|part| matches!(part, Component::Normal(_)));
    if plain { Ok(Some(at.to_owned())) } else { Err(FreezeError::NoGroup { tgid }) }
}

/// The group of this name that a place lies in, or is.
pub(super) fn within(at: &Path, name: &str) -> Option<PathBuf> {
    at.ancestors().find(|above| above.file_name() == Some(OsStr::new(name))).map(Path::to_owned)
}

pub(super) fn whole(group: &Path) -> PathBuf {
    Path::new(CGROUPS).join(group)
}

pub(super) fn make(group: &Path) -> Result<(), FreezeError> {
    let path = whole(group);
    match fs::create_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|source| FreezeError::Group { what: "make", path, source }),
    }
}

/// Moves a process; false when there is no such process any more.
pub(super) fn enter(group: &Path, tgid: u32) -> Result<bool, FreezeError> {
    match write(group, "cgroup.procs", &tgid.to_string()) {
        Err(FreezeError::Group { source, .. }) if is_gone(&source) => Ok(false),
        written => written.map(|()| true),
    }
}

/// Moves processes that do not belong into a group to where the group was made.
fn put_back(group: &Path, belongs: impl Fn(Tag) -> bool, tags: &Tags) -> Result<(), FreezeError> {
    let path = whole(group).join("cgroup.procs");
    let listed = match fs::read_to_string(&path) {
        Ok(listed) => listed,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(source) => return Err(FreezeError::Group { what: "read", path, source }),
    };
    let above = group.parent().unwrap_or(Path::new(""));
    for tgid in listed.lines().filter_map(|line| line.parse::<u32>().ok()) {
        let Some(pid) = i32::try_from(tgid).ok().and_then(Pid::from_raw) else { continue };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if !tags.get(process.as_fd())?.is_some_and(&belongs) {
            enter(above, tgid)?;
        }
    }
    Ok(())
}

/// The process, or its file, is not there any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::ENODEV))
}

pub(super) fn write(group: &Path, file: &'static str, text: &str) -> Result<(), FreezeError> {
    let path = whole(group).join(file);
    fs::write(&path, text).map_err(|source| FreezeError::Group { what: "write", path, source })
}
