//! What a daemon and its runs have taken of the host, so that it can be seen whether they have given it back.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use agentid_common::{instance::Instance, map::SLOTS};
use anyhow::{Context as _, Result};

use super::{Daemon, scene::PINS, table::Table};

/// Counts that do not depend on time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Entries of each table of the kernel programs.
    pub tables: BTreeMap<String, u64>,
    /// Slots that are not as they were before the first run.
    pub slots: usize,
    /// Everything below the pins.
    pub pins: usize,
    /// Groups of tasks on the host.
    pub cgroups: usize,
    /// Descriptors of the daemon, by what they are.
    pub descriptors: BTreeMap<String, usize>,
    /// Children of the daemon.
    pub children: usize,
    /// Files of the state folder, without the records of runs.
    pub files: Vec<PathBuf>,
    /// Records of runs.
    pub records: usize,
}

impl Footprint {
    /// Whether there is nothing more than in the other one; what runs before it have left may be gone since.
    pub fn is_within(&self, other: &Self) -> bool {
        let fewer = |kind: &String, count: &usize| other.descriptors.get(kind) >= Some(count);
        self.tables.iter().all(|(name, entries)| other.tables.get(name) >= Some(entries))
            && self.slots <= other.slots
            && self.pins <= other.pins
            && self.cgroups <= other.cgroups
            && self.descriptors.iter().all(|(kind, count)| fewer(kind, count))
            && self.children <= other.children
            && self.files.iter().all(|file| other.files.contains(file))
            && self.records == other.records
    }

    pub fn of(daemon: &Daemon) -> Result<Self> {
        let process = daemon.tgid().context("the daemon is not running")?;
        let status = daemon.status()?;
        let table = Table::open()?;
        let mut slots = 0;
        for slot in 1..SLOTS {
            slots += usize::from(table.get(slot)? != Instance::default());
        }
        let (records, mut files): (Vec<_>, Vec<_>) =
            below(&daemon.scene().state())?.into_iter().partition(|path| is_record(path));
        files.sort();
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
        Ok(Self {
            tables: status.maps.into_iter().map(|map| (map.name, map.entries)).collect(),
            slots,
            pins: below(Path::new(PINS))?.len(),
            cgroups: folders(Path::new("/sys/fs/cgroup"))?,
            descriptors: descriptors(process)?,
            children: children.split_whitespace().count(),
            files,
            records: records.len(),
        })
    }
}

/// Memory of the daemon that is its own alone, in KiB: what it shares with files comes and goes as the kernel likes.
pub fn memory_kib(daemon: &Daemon) -> Result<u64> {
    let process = daemon.tgid().context("the daemon is not running")?;
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.context("the kernel does not say")?.parse().context("no number")
}

fn is_record(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("invocations"))
}

/// Numbers of objects are left out, as one is as good as another.
fn descriptors(process: u32) -> Result<BTreeMap<String, usize>> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // It may have been closed since.
        if let Ok(target) = fs::read_link(entry?.path()) {
            let text = target.to_string_lossy();
            let kind = text.split_once(":[").map_or(&*text, |(kind, _)| kind);
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }
    Ok(kinds)
}

/// All files below a folder, and the folders among them. What vanishes meanwhile is not there.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut next) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = next.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("failed to list {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                next.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn folders(folder: &Path) -> Result<usize> {
    Ok(below(folder)?.iter().filter(|path| path.is_dir()).count())
}
