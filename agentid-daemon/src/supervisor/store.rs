//! The state folder: what the next daemon must know.
//!
//! ```text
//!   lock                       held by the daemon that runs
//!   mark                       no scope or generation below this number is free
//!   numbered                   no event has a number above this one
//!   invocations/ID.json        one run
//!   owners.json                owners for whom nothing is launched
//!   policies/NAME@DIGEST.toml  the exact text that runs are bound to
//! ```
//!
//! Every file is replaced as a whole: written beside its place, synced, renamed, and the folder synced. A file that cannot
//! be read stops the start, because it may be the one that says what a live run is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use agentid_common::name::{self, NameKey};
use nix::fcntl::{Flock, FlockArg};
use rustix::fs::syncfs;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    event::number,
    instance::{DeniedOwners, Run, run::PolicyVersion},
};

/// Version of the files' format, and the oldest that is still read.
const FORMAT: u32 = 2;
const OLDEST: u32 = 1;
/// So few runs are saved one by one; more with one wait for all that the filesystem has to write.
const FEW: usize = 8;
/// How far ahead of use the mark is set, so that not every launch writes it.
const AHEAD: u64 = 4096;
/// The same for numbers of events, which are microseconds: an hour, or a minute when the disk has refused.
const HOUR: u64 = 3_600_000_000;
const MINUTE: u64 = 60_000_000;

/// What went wrong with which file.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "read state file {}: it is corrupt (move it away to start without that run, which is then ended)",
        path.display()
    )]
    Run { path: PathBuf, source: serde_json::Error },
    #[error("write state file {}", path.display())]
    Write { path: PathBuf, source: serde_json::Error },
    #[error("read state file {}: its name and its content disagree", path.display())]
    Name { path: PathBuf },
    #[error("read state file {}: format {format} is not ours, {FORMAT}", path.display())]
    Format { path: PathBuf, format: u32 },
    #[error(
        "read {}: it is corrupt (write a number there that is above every one ever used, such as 1000000000)",
        path.display()
    )]
    Mark { path: PathBuf },
    #[error(
        "read {}: it is corrupt (remove it if the clock of this host is right: events are then numbered on from there)",
        path.display()
    )]
    Numbered { path: PathBuf },
    #[error(
        "read {}: it is corrupt (move it away, and deny its owners again with agentid deny-owner)",
        path.display()
    )]
    Owners { path: PathBuf, source: serde_json::Error },
    #[error("read policy text {}: it is not the text that its name stands for", path.display())]
    Policy { path: PathBuf },
    #[error("another agentid daemon runs already, or a revocation without one: it holds {}", path.display())]
    Locked { path: PathBuf },
}

/// The state folder, locked.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    mark: u64,
    numbered: u64,
    /// Held until the process ends.
    _lock: Flock<File>,
}

#[derive(Serialize)]
struct Kept<'a> {
    format: u32,
    run: &'a Run,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "format")]
    _format: u32,
    run: Run,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owners {
    format: u32,
    denied: DeniedOwners,
}

/// Runs whose files are not what they should be.
#[derive(Debug, Default)]
pub struct Unsaved {
    pub runs: BTreeSet<Uuid>,
    /// Why; what several of them have failed by is told once.
    pub errors: Vec<StoreError>,
}

impl Unsaved {
    fn note<T>(&mut self, id: Uuid, outcome: Result<T, StoreError>) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            Err(error) => {
                self.runs.insert(id);
                self.errors.push(error);
                None
            }
        }
    }

    fn note_all(&mut self, runs: impl Iterator<Item = Uuid>, error: StoreError) {
        self.runs.extend(runs);
        self.errors.push(error);
    }
}

impl Store {
    /// Opens the folder for one daemon alone.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for folder in [root.to_owned(), root.join("invocations"), root.join("policies")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(failed("create", &folder))?;
        }
        let lock = lock(&root.join("lock"))?;
        let mut store = Self { root: root.to_owned(), mark: 0, numbered: 0, _lock: lock };
        let path = store.root.join("mark");
        store.mark = read_number(&path)?.ok_or(StoreError::Mark { path })?;
        Ok(store)
    }

    /// The lowest number that no earlier daemon can have used that had this folder.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Makes sure that a later daemon starts above `next`. To be called before a number below it is used.
    pub fn reserve(&mut self, next: u64) -> Result<(), StoreError> {
        if next > self.mark || self.mark == 0 {
            let mark = next.saturating_add(AHEAD);
            self.replace(&self.root.join("mark"), mark.to_string().as_bytes())?;
            self.mark = mark;
        }
        Ok(())
    }

    /// A number that none of an event exceeds that an earlier daemon has given.
    pub fn numbered(&mut self) -> Result<u64, StoreError> {
        let path = self.root.join("numbered");
        let read = read_number(&path)?.filter(|number| *number <= number::MOST);
        self.numbered = read.ok_or(StoreError::Numbered { path })?;
        Ok(self.numbered)
    }

    /// Makes sure that a later daemon gives this number to no event. To be called before the event is told.
    pub fn reserve_numbers(&mut self, number: u64) -> Result<(), StoreError> {
        if number <= self.numbered {
            return Ok(());
        }
        let ahead = number.saturating_add(HOUR);
        let written = self.replace(&self.root.join("numbered"), ahead.to_string().as_bytes());
        // Not at each event that there is in the meantime.
        self.numbered = if written.is_ok() { ahead } else { number.saturating_add(MINUTE) };
        written
    }

    /// Every run that has a file, the oldest first.
    pub fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let (runs, unread) = self.readable_runs()?;
        unread.into_iter().next().map_or(Ok(runs), Err)
    }

    /// The runs whose files can be read, the oldest first, and what is wrong with the others.
    pub fn readable_runs(&self) -> Result<(Vec<Run>, Vec<StoreError>), StoreError> {
        let folder = self.root.join("invocations");
        let (mut runs, mut unread) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&folder).map_err(failed("list", &folder))? {
            let path = entry.map_err(failed("list", &folder))?.path();
            // What a daemon was writing when it died.
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                continue;
            }
            match read_run(path) {
                Ok(run) => runs.push(run),
                Err(error) => unread.push(error),
            }
        }
        runs.sort_by_key(|run| run.id);
        Ok((runs, unread))
    }

    /// The same of these runs alone, as far as they have files, and in the order that is given.
    pub fn readable_runs_of(&self, ids: impl Iterator<Item = Uuid>) -> (Vec<Run>, Vec<StoreError>) {
        let (mut runs, mut unread) = (Vec::new(), Vec::new());
        for path in ids.map(|id| self.run_path(id)) {
            match read_run(path) {
                Ok(run) => runs.push(run),
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unread.push(error),
            }
        }
        (runs, unread)
    }

    pub fn save(&self, run: &Run) -> Result<(), StoreError> {
        let path = self.run_path(run.id);
        self.replace(&path, &text(&path, run)?)
    }

    /// The same for any number of runs, with as many waits for the disk as for a few. One that cannot be saved keeps no
    /// other from it.
    pub fn save_all<'a>(&self, runs: impl Iterator<Item = &'a Run>) -> Unsaved {
        let runs: Vec<&Run> = runs.collect();
        let mut unsaved = Unsaved::default();
        if runs.len() <= FEW {
            for run in runs {
                unsaved.note(run.id, self.save(run));
            }
            return unsaved;
        }
        let mut written = Vec::new();
        for run in runs {
            let path = self.run_path(run.id);
            let beside = text(&path, run).and_then(|text| write_beside(&path, &text, false));
            if let Some(beside) = unsaved.note(run.id, beside) {
                written.push((run.id, beside, path));
            }
        }
        let folder = self.root.join("invocations");
        let sync = || File::open(&folder).and_then(|folder| Ok(syncfs(folder)?));
        if let Err(error) = sync() {
            unsaved.note_all(written.iter().map(|(id, ..)| *id), failed("write", &folder)(error));
            return unsaved;
        }
        for (id, beside, path) in &written {
            unsaved.note(*id, fs::rename(beside, path).map_err(failed("write", path)));
        }
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        if let Err(error) = synced {
            unsaved.note_all(written.iter().map(|(id, ..)| *id), failed("write", &folder)(error));
        }
        unsaved
    }

    pub fn forget(&self, id: Uuid) -> Result<(), StoreError> {
        let path = self.run_path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Owners for whom nothing is launched.
    pub fn owners(&self) -> Result<DeniedOwners, StoreError> {
        let path = self.root.join("owners.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        match serde_json::from_slice::<Owners>(&bytes) {
            Ok(owners) if is_read(owners.format) => Ok(owners.denied),
            Ok(owners) => Err(StoreError::Format { path, format: owners.format }),
            Err(source) => Err(StoreError::Owners { path, source }),
        }
    }

    pub fn save_owners(&self, denied: &DeniedOwners) -> Result<(), StoreError> {
        let path = self.root.join("owners.json");
        let owners = Owners { format: FORMAT, denied: denied.clone() };
        let mut text = serde_json::to_vec_pretty(&owners)
            .map_err(|source| StoreError::Owners { path: path.clone(), source })?;
        text.push(b'\n');
        self.replace(&path, &text)
    }

    /// Keeps the text of a policy for as long as runs may be bound to it.
    pub fn keep_policy(&self, version: &PolicyVersion, text: &str) -> Result<(), StoreError> {
        let path = self.policy_path(version);
        match fs::read_to_string(&path) {
            Ok(kept) if kept == text => Ok(()),
            Ok(_) => Err(StoreError::Policy { path }),
            Err(_) => self.replace(&path, text.as_bytes()),
        }
    }

    /// Removes all texts but those of these versions.
    pub fn sweep_policies(&self, kept: &BTreeSet<String>) -> Vec<StoreError> {
        let folder = self.root.join("policies");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => return vec![failed("list", &folder)(error)],
        };
        let swept = entries.map(|entry| {
            let path = entry.map_err(failed("list", &folder))?.path();
            // A digest has no dot in it, and what was being written when a daemon died ends otherwise.
            let version = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".toml"));
            if version.is_some_and(|version| kept.contains(version)) {
                return Ok(());
            }
            fs::remove_file(&path).map_err(failed("remove", &path))
        });
        swept.filter_map(Result::err).collect()
    }

    /// The text that a run is bound to.
    pub fn policy(&self, version: &PolicyVersion) -> Result<String, StoreError> {
        let path = self.policy_path(version);
        let text = fs::read_to_string(&path).map_err(failed("read policy text", &path))?;
        if digest(&text) == version.digest { Ok(text) } else { Err(StoreError::Policy { path }) }
    }

    fn run_path(&self, id: Uuid) -> PathBuf {
        self.root.join("invocations").join(format!("{id}.json"))
    }

    fn policy_path(&self, version: &PolicyVersion) -> PathBuf {
        self.root.join("policies").join(format!("{version}.toml"))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let beside = write_beside(path, bytes, true)?;
        fs::rename(&beside, path)
            .and_then(|()| File::open(path.parent().unwrap_or(&self.root))?.sync_all())
            .map_err(failed("write", path))
    }
}

/// What the file of a run is.
fn text(path: &Path, run: &Run) -> Result<Vec<u8>, StoreError> {
    let mut text = serde_json::to_vec_pretty(&Kept { format: FORMAT, run })
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a file that is to take the place of another one. Where there is no room for it nothing is left of it.
fn write_beside(path: &Path, bytes: &[u8], sync: bool) -> Result<PathBuf, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        if sync { file.sync_all() } else { Ok(()) }
    };
    match write() {
        Ok(()) => Ok(beside),
        Err(error) => {
            // The next one writes over what cannot be removed.
            fs::remove_file(&beside).unwrap_or_default();
            Err(failed("write", path)(error))
        }
    }
}

/// Short name of a text: SipHash-1-3 under a fixed key. It tells versions apart; it does not protect the text, which only
/// root can write.
pub fn digest(text: &str) -> String {
    format!("{:016x}", name::hash(&NameKey::default(), text.as_bytes()))
}

/// The number in a file, 0 when there is no file, and `None` when it holds something else.
fn read_number(path: &Path) -> Result<Option<u64>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(0)),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn is_read(format: u32) -> bool {
    (OLDEST..=FORMAT).contains(&format)
}

fn read_run(path: PathBuf) -> Result<Run, StoreError> {
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    // Another format may have what this one does not know.
    match serde_json::from_slice::<Version>(&bytes) {
        Ok(Version { format }) if !is_read(format) => {
            return Err(StoreError::Format { path, format });
        }
        Ok(_) => {}
        Err(source) => return Err(StoreError::Run { path, source }),
    }
    let read: Read = match serde_json::from_slice(&bytes) {
        Ok(read) => read,
        Err(source) => return Err(StoreError::Run { path, source }),
    };
    if path.file_stem().is_none_or(|stem| stem != read.run.id.to_string().as_str()) {
        return Err(StoreError::Name { path });
    }
    Ok(read.run)
}

fn lock(path: &Path) -> Result<Flock<File>, StoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(failed("open", path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => StoreError::Locked { path: path.to_owned() },
        errno => failed("lock", path)(errno.into()),
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}
