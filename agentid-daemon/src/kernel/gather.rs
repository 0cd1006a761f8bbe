//! Processes that run already are gathered in a cgroup, stand still in it, and become a run.
//!
//! While they stand still none of them starts another or ends by itself, so that all of them are tagged or none is. What
//! makes sure of "all" is where they come from: whatever a process of a cgroup starts is in that cgroup too, however fast,
//! while a process that is known only as somebody's descendant is lost sight of when what lies between ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Component, Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use agentid_common::{
    map::Adoption,
    record::TaskLine,
    tag::{COUNTED, Tag},
};
use aya::maps::{Array, MapData, MapError};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{
    freezer::{self, FreezeError, enter, living_thread, make, place_of, whole, within, write},
    kin::Kin,
    list::{self, ListError},
    maps::{TagError, Tags},
    object::{CGROUPS, ObjectError},
    shares::Sharing,
    tasks::ReadError,
};

/// So often processes are looked for that are not in the group yet.
const LOOKS: usize = 64;
/// So often it is looked who else there is, if somebody starts in between.
const LOOKS_AROUND: usize = 16;
/// How long they may take until all of them stand still, and until all of them are tagged.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the processes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This process and its descendants.
    Process(u32),
    /// All processes of this cgroup and of those below it, by its place below the root of the hierarchy.
    Group(PathBuf),
}

/// Processes that stand still together.
#[derive(Debug)]
pub struct Gathered {
    pub group: PathBuf,
    /// The one that the others come from, or one of them.
    pub first: u32,
    pub uid: u32,
    pub processes: BTreeSet<u32>,
    /// Where each of them was before.
    from: BTreeMap<u32, PathBuf>,
}

/// Why they do not become a run. Nothing has changed for them, but that they have stood still.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    #[error("there is no process {0}")]
    NoProcess(u32),
    #[error("there is no cgroup {0:?} with processes in it")]
    NoGroup(PathBuf),
    #[error("process {0} is the first of the host, the daemon itself, or the one that asks")]
    Own(u32),
    #[error("process {0} belongs to a run already")]
    Tagged(u32),
    #[error("process {0} is traced by process {1}, which would go on steering it")]
    Traced(u32, u32),
    #[error(
        "process {} has the {} of process {}, and would not be one of the run",
        .0.outside, .0.what, .0.inside
    )]
    Shares(Sharing),
    #[error("find out with whom they share what they have")]
    Sharers(#[source] Box<ReadError>),
    #[error(
        "process {process} is a descendant, and in cgroup {group:?}, outside of the first one's"
    )]
    Elsewhere { process: u32, group: PathBuf },
    #[error(
        "{0} of the processes ended meanwhile, and may have left others that nobody knows to be theirs"
    )]
    Lost(usize),
    #[error(
        "process {0} has started or has lost its parent meanwhile, and may have come from one of them"
    )]
    Stray(u32),
    #[error(
        "the processes do not come to rest: a task waits for a device, or others start them anew all the time"
    )]
    Restless,
    #[error("{0} tasks could not be tagged")]
    Untagged(usize),
    #[error("{0} tasks have a tag that could not be taken away again: they are denied everything")]
    Stuck(usize),
    #[error(transparent)]
    Group(Box<FreezeError>),
    #[error("look at process {tgid}")]
    Look { tgid: u32, source: io::Error },
    #[error("look at all processes")]
    LookAll(#[source] io::Error),
    #[error(transparent)]
    Tag(Box<TagError>),
    #[error("say which tasks become those of the run")]
    Say(#[source] Box<MapError>),
    #[error(transparent)]
    Open(Box<ObjectError>),
    #[error("read which tasks have become those of the run")]
    Read(#[from] ListError),
}

impl From<FreezeError> for GatherError {
    fn from(error: FreezeError) -> Self {
        Self::Group(Box::new(error))
    }
}

impl From<TagError> for GatherError {
    fn from(error: TagError) -> Self {
        Self::Tag(Box::new(error))
    }
}

impl From<MapError> for GatherError {
    fn from(error: MapError) -> Self {
        Self::Say(Box::new(error))
    }
}

impl From<ObjectError> for GatherError {
    fn from(error: ObjectError) -> Self {
        Self::Open(Box::new(error))
    }
}

/// Gathers the processes in a group of this name and has them stand still. `caller` is not to be among them.
pub fn gather(
    tags: &Tags,
    sharing: impl Fn(&BTreeSet<u32>) -> Result<Option<Sharing>, ReadError>,
    source: &Source,
    name: &str,
    caller: u32,
) -> Result<Gathered, GatherError> {
    let base = match source {
        Source::Process(first) => place_of(*first)?.ok_or(GatherError::NoProcess(*first))?,
        Source::Group(group) if is_group(group) => group.clone(),
        Source::Group(group) => return Err(GatherError::NoGroup(group.clone())),
    };
    let first = match source {
        Source::Process(first) => *first,
        Source::Group(_) => 0,
    };
    let group = base.join(name);
    make(&group)?;
    let mut gathered =
        Gathered { group, first, uid: 0, processes: BTreeSet::new(), from: BTreeMap::new() };
    let outcome = gathered.fill(source, &base, caller).and_then(|()| {
        gathered.inspect(tags)?;
        // They stand still, and so have only what they had.
        match sharing(&gathered.processes) {
            Ok(None) => Ok(()),
            Ok(Some(sharing)) => Err(GatherError::Shares(sharing)),
            Err(failure) => Err(GatherError::Sharers(Box::new(failure))),
        }
    });
    match outcome {
        Ok(()) => Ok(gathered),
        Err(error) => {
            gathered.scatter()?;
            Err(error)
        }
    }
}

impl Gathered {
    fn fill(&mut self, source: &Source, base: &Path, caller: u32) -> Result<(), GatherError> {
        write(&self.group, "cgroup.freeze", "1")?;
        let earlier = Kin::look().map_err(GatherError::LookAll)?;
        let mut seen = BTreeSet::new();
        for look in 0.. {
            if look == LOOKS {
                return Err(GatherError::Restless);
            }
            let own = members(&self.group)?;
            let all = match source {
                Source::Process(first) => Kin::look().map_err(GatherError::LookAll)?.tree(*first),
                Source::Group(group) => all_members(group)?,
            };
            if all.iter().any(|tgid| is_our_own(*tgid, caller)) {
                let own = all.into_iter().find(|tgid| is_our_own(*tgid, caller));
                return Err(GatherError::Own(own.unwrap_or_default()));
            }
            let outside: Vec<u32> = all.difference(&own).copied().collect();
            seen.extend(all);
            if outside.is_empty() {
                break;
            }
            for tgid in outside {
                let Some(at) = place_of(tgid)? else { continue };
                if !at.starts_with(base) {
                    return Err(GatherError::Elsewhere { process: tgid, group: at });
                }
                if within(&at, &self.name()).is_none() && enter(&self.group, tgid)? {
                    self.from.insert(tgid, at);
                }
            }
        }
        self.come_to_rest()?;
        self.processes = members(&self.group)?;
        let lost = seen.difference(&self.processes).count();
        match source {
            Source::Process(_) if lost > 0 => return Err(GatherError::Lost(lost)),
            Source::Group(group) if self.processes.is_empty() => {
                return Err(GatherError::NoGroup(group.clone()));
            }
            _ => {}
        }
        // A number that was given to another process meanwhile has moved that one.
        let now = match source {
            Source::Process(first) => {
                let (kin, outside) = self.look_around(base)?;
                if let Some(stray) = kin.stray(&earlier, *first, &outside) {
                    return Err(GatherError::Stray(stray));
                }
                kin.tree(*first)
            }
            Source::Group(group) => all_members(group)?,
        };
        if self.processes != now {
            return Err(GatherError::Restless);
        }
        if self.first == 0 {
            self.first = self.processes.first().copied().unwrap_or_default();
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.group.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn come_to_rest(&self) -> Result<(), GatherError> {
        freezer::settle(&BTreeSet::from([self.group.clone()]), PATIENCE)?;
        let events = read(&self.group, "cgroup.events")?;
        let rests = events.lines().any(|line| line == "frozen 1");
        if rests { Ok(()) } else { Err(GatherError::Restless) }
    }

    /// All processes, and those of `base` that are not in the group; whatever comes from the gathered ones is in `base`.
    fn look_around(&self, base: &Path) -> Result<(Kin, BTreeSet<u32>), GatherError> {
        for _ in 0..LOOKS_AROUND {
            let kin = Kin::look().map_err(GatherError::LookAll)?;
            let mut outside = all_members(base)?;
            outside.retain(|tgid| !self.processes.contains(tgid));
            // Else one has started since, and whoever has started it may be gone.
            if outside.iter().all(|tgid| kin.knows(*tgid)) {
                return Ok((kin, outside));
            }
        }
        Err(GatherError::Restless)
    }

    /// Refuses what nobody may bring along: a tag, and somebody outside who steers. Notes whose they are: the user of all of
    /// them, or root.
    fn inspect(&mut self, tags: &Tags) -> Result<(), GatherError> {
        let mut users = BTreeSet::new();
        for &tgid in &self.processes {
            let look = |source| GatherError::Look { tgid, source };
            let pid = i32::try_from(tgid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or(GatherError::NoProcess(tgid))?;
            let process = pidfd_open(pid, PidfdFlags::empty())
                .map_err(|errno| look(io::Error::from(errno)))?;
            if tags.get(process.as_fd())?.is_some() {
                return Err(GatherError::Tagged(tgid));
            }
            for thread in fs::read_dir(format!("/proc/{tgid}/task")).map_err(look)? {
                let status = thread.map_err(look)?.path().join("status");
                let status = fs::read_to_string(status).map_err(look)?;
                let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
                let uid = uid.and_then(|it| it.split_whitespace().next()?.parse::<u32>().ok());
                users.insert(uid.unwrap_or_default());
                let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
                let tracer: u32 = tracer.and_then(|it| it.trim().parse().ok()).unwrap_or(u32::MAX);
                if tracer != 0 && !self.processes.contains(&tracer) {
                    return Err(GatherError::Traced(tgid, tracer));
                }
            }
        }
        let [uid] = users.into_iter().collect::<Vec<_>>().try_into().unwrap_or([0]);
        self.uid = uid;
        Ok(())
    }

    /// Tags every task of the group, or none.
    pub fn tag(
        &self,
        adoption: &mut Array<MapData, Adoption>,
        mut list: impl FnMut() -> Result<File, ObjectError>,
        tag: Tag,
    ) -> Result<(), GatherError> {
        let number = fs::metadata(whole(&self.group));
        let number = number.map_err(|source| FreezeError::Group {
            what: "look at",
            path: whole(&self.group),
            source,
        })?;
        let tag = Tag { mark: COUNTED, ..tag };
        let take = Adoption { group: number.ino(), tag, undo: 0, reserved: 0 };
        let begun = Instant::now();
        let mut pass = |adoption: &mut Array<MapData, Adoption>| {
            adoption.set(0, take, 0)?;
            let tagged = tagged(list()?, &tag)?;
            let all = numbers(&read(&self.group, "cgroup.threads")?);
            let missing = all.difference(&tagged.tasks).count();
            // Whoever may write where they are can move one out, which goes on there. The kernel tags who is in the group.
            let untagged = self.processes.difference(&tagged.processes);
            let missing = missing + untagged.filter(|tgid| living_thread(**tgid).is_some()).count();
            Ok((missing > 0 || all.is_empty()).then_some(missing))
        };
        let outcome = loop {
            match pass(adoption) {
                Ok(None) => break Ok(()),
                Ok(Some(missing)) if begun.elapsed() > PATIENCE => {
                    break Err(GatherError::Untagged(missing));
                }
                Ok(Some(_)) => thread::sleep(Duration::from_millis(1)),
                Err(error) => break Err(error),
            }
        };
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                let undo = Adoption { undo: 1, ..take };
                Err(let_go_of(adoption, &mut list, undo).err().unwrap_or(error))
            }
        };
        adoption.set(0, Adoption::default(), 0)?;
        outcome
    }

    /// They go on where they are.
    pub fn let_go(&self) -> Result<(), FreezeError> {
        write(&self.group, "cgroup.freeze", "0")
    }

    /// They go on where they have been.
    pub fn scatter(&self) -> Result<(), FreezeError> {
        let base = self.group.parent().unwrap_or(Path::new("")).to_owned();
        let any = self.from.values().next().unwrap_or(&base);
        let mut outcome = Ok(());
        for tgid in members(&self.group).unwrap_or_default() {
            let from = self.from.get(&tgid).unwrap_or(any);
            // One that was emptied may have been removed.
            let from = if whole(from).is_dir() { from } else { &base };
            outcome = enter(from, tgid).map(|_| ()).and(outcome);
        }
        // Whatever has failed, nobody stands still for it.
        self.let_go()?;
        outcome?;
        let path = whole(&self.group);
        fs::remove_dir(&path).map_err(|source| FreezeError::Group { what: "remove", path, source })
    }
}

/// Takes the tags away again.
fn let_go_of(
    adoption: &mut Array<MapData, Adoption>,
    list: &mut impl FnMut() -> Result<File, ObjectError>,
    undo: Adoption,
) -> Result<(), GatherError> {
    adoption.set(0, undo, 0)?;
    let begun = Instant::now();
    loop {
        let left = tagged(list()?, &undo.tag)?.tasks.len();
        if left == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(GatherError::Stuck(left));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The numbers of what has a tag.
#[derive(Default)]
struct Tagged {
    tasks: BTreeSet<u32>,
    processes: BTreeSet<u32>,
}

/// What is of this run in the list.
fn tagged(list: File, tag: &Tag) -> Result<Tagged, ListError> {
    let mut found = Tagged::default();
    for line in list::all::<TaskLine>(list)? {
        if line.slot == tag.slot && line.generation == tag.generation {
            found.tasks.insert(line.tid);
            found.processes.insert(line.tgid);
        }
    }
    Ok(found)
}

/// Whether there is such a group, and it is not the root, which everything is in.
fn is_group(group: &Path) -> bool {
    let plain = group.components().all(|part| matches!(part, Component::Normal(_)));
    plain && group.file_name().is_some() && whole(group).join("cgroup.procs").is_file()
}

fn is_our_own(tgid: u32, caller: u32) -> bool {
    tgid == 1 || tgid == std::process::id() || tgid == caller
}

fn read(group: &Path, file: &'static str) -> Result<String, FreezeError> {
    let path = whole(group).join(file);
    fs::read_to_string(&path).map_err(|source| FreezeError::Group { what: "read", path, source })
}

fn numbers(text: &str) -> BTreeSet<u32> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn members(group: &Path) -> Result<BTreeSet<u32>, FreezeError> {
    Ok(numbers(&read(group, "cgroup.procs")?))
}

/// The processes of a group and of all below it.
fn all_members(group: &Path) -> Result<BTreeSet<u32>, FreezeError> {
    let mut found = members(group)?;
    let path = whole(group);
    let failed = |source| FreezeError::Group { what: "list", path: path.clone(), source };
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            match all_members(&group.join(entry.file_name())) {
                Err(FreezeError::Group { source, .. }) if freezer::is_gone(&source) => {}
                below => found.append(&mut below?),
            }
        }
    }
    Ok(found)
}

/// The place of a cgroup below the root of the hierarchy, however it was written.
pub fn place(path: &Path) -> PathBuf {
    let below = path.strip_prefix(CGROUPS).unwrap_or(path);
    below.strip_prefix("/").unwrap_or(below).to_owned()
}
