//! The running kernel: the only module that knows aya.
//!
//! Synchronous, and to be called by the daemon's main thread: the kernel programs know the daemon by that thread.

mod apply;
mod askers;
mod attached;
mod btf;
mod canary;
mod cgroup;
mod clock;
mod demand;
mod elsewhere;
mod enclose;
mod examine;
mod family;
mod fields;
mod freezer;
mod gather;
mod kin;
mod left;
mod list;
mod live;
mod maps;
mod mounts;
mod namespace;
mod object;
mod orphans;
mod pins;
mod preflight;
mod priority;
mod ring;
mod shares;
mod sockets;
mod start;
mod survey;
mod symbols;
mod sys;
mod tasks;
mod tree;
mod unload;
mod verify;

#[cfg(test)]
mod abi_tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    ops::ControlFlow,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use agentid_common::{
    instance::Activity,
    map::{ANCHORS, CANARY_SLOT, EDGES, ENTRIES, PEERS, PINS, PORTS, Resolver},
    name::NameKey,
    record::{ShareLine, SocketLine, TaskLine},
    tag::Tag,
};
use rustix::time::{ClockId, clock_gettime};

use self::{
    canary::Canary,
    demand::OnDemand,
    live::LiveCounts,
    maps::Maps,
    pins::{Links, Pins},
};
use crate::{
    image::{HostPlace, Image, MapOp, NamedPlace, Terrain},
    instance::{Bounds, Demand, Posture},
};

pub use self::{
    apply::ApplyError,
    askers::{Askers, address},
    canary::main as canary_main,
    clock::is_synchronised,
    demand::{DemandError, HookState},
    elsewhere::is_held,
    enclose::{CPU, EncloseError, MEMORY, TASKS, Usage, available as controllers},
    examine::examine,
    family::{SMALL, of as family_of},
    freezer::{FreezeError, Runs},
    gather::{GatherError, Gathered, Source, place as group_place},
    left::{Left, LeftError, LeftPrograms},
    maps::Callers,
    maps::{Counters, TagError},
    orphans::OrphanError,
    preflight::{Found, PreflightError, Sight},
    priority::{Precedence, come_first},
    ring::Ring,
    shares::Sharing,
    sockets::{EndedConnections, HangUpError, HangingUp, HungUp},
    start::{Held, StartError},
    survey::{LocateError, SurveyError},
    tasks::{Processes, ReadError, StopError, lives},
    unload::{UnloadError, unload},
    verify::{VerifyError, prototypes, verify},
};

/// Why the kernel programs do not know the resolver.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("tell this network namespace from others")]
    Namespace(#[source] std::io::Error),
    #[error("write the kernel's maps")]
    Map(#[from] aya::maps::MapError),
}

/// `CLOCK_BOOTTIME`, which deadlines and pins are compared with; it goes on while the host is suspended.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::from_secs(now.tv_sec.cast_unsigned())
        + Duration::from_nanos(now.tv_nsec.cast_unsigned())
}

/// Where the kernel's side of a host lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Folder of the pins, in a bpffs.
    pub bpffs: PathBuf,
    /// Load the programs even when an earlier daemon has left those of this same build attached.
    pub anew: bool,
    /// How many arguments of a program that a run executes are recorded at most.
    pub arguments: u32,
}

/// The programs and maps, loaded and attached. Dropping it ends nothing: the pins hold.
pub struct Kernel {
    on_demand: OnDemand,
    maps: Maps,
    live: LiveCounts,
    pins: Pins,
    canary: Canary,
    mounts: mounts::Watch,
    names: NameKey,
    /// The LSM hooks that this kernel has a program of ours for.
    wanted: Vec<&'static str>,
    /// What the runs need of the programs that are attached on demand, as far as we were told.
    demand: Demand,
}

impl Kernel {
    /// Loads and attaches everything, or nothing; takes over what an earlier daemon left.
    pub fn start(options: &Options) -> Result<(Self, Vec<Held>), StartError> {
        let started = start::start(options)?;
        let kernel = Self {
            on_demand: started.on_demand,
            maps: started.maps,
            live: LiveCounts::open(&started.pins.map("ACTIVITY")).map_err(StartError::Live)?,
            pins: started.pins,
            canary: started.canary,
            mounts: mounts::Watch::new().map_err(StartError::Mounts)?,
            names: started.names,
            wanted: started.hooks,
            demand: Demand::default(),
        };
        Ok((kernel, started.held))
    }

    /// The key under which names are hashed.
    pub fn names(&self) -> NameKey {
        self.names
    }

    /// What the maps hold now; the canary is not part of it. To be called once before anything is applied.
    pub fn image(&mut self) -> Result<Image, ReadError> {
        Ok(apply::image(&mut self.maps, &self.pins)?)
    }

    /// Carries out the ops in order, up to the first that fails.
    pub fn apply(&mut self, ops: &[MapOp]) -> Result<(), ApplyError> {
        apply::apply(&mut self.maps, ops)
    }

    /// Gives a process's first thread its tag; one that has a tag keeps it.
    pub fn tag(&mut self, process: BorrowedFd<'_>, tag: &Tag) -> Result<(), TagError> {
        self.maps.tags.set(process, tag)
    }

    /// Moves a process from one run to another. It is one of `from` before, or nothing is done; the counts of live tasks
    /// are right afterwards, save where it says that it cannot tell.
    pub fn retag(
        &mut self,
        process: BorrowedFd<'_>,
        tgid: u32,
        from: &Tag,
        to: &Tag,
    ) -> Result<(), TagError> {
        self.maps.tags.replace(process, from, to)?;
        // A task that has not begun to exit had not left its count either when its tag was replaced. One that has may
        // have: its old run's count is then left too high rather than too low, and the list of tasks corrects it.
        if live::is_exiting(tgid).map_err(TagError::Process)? {
            return Err(TagError::Exiting);
        }
        self.live.leave(from.slot);
        Ok(())
    }

    /// The run of a process that has connected to the daemon. What has connected as a run stays one, whoever writes to the
    /// connection later; and what has become one since is one.
    pub fn tag_of(
        &self,
        process: BorrowedFd<'_>,
        connection: BorrowedFd<'_>,
    ) -> Result<Option<Tag>, TagError> {
        match self.maps.callers.get(connection)? {
            Some(tag) => Ok(Some(tag)),
            None => self.maps.tags.get(process),
        }
    }

    pub fn activity(&self, slot: u32) -> Result<Activity, ReadError> {
        Ok(self.maps.activity.get(&slot, 0)?)
    }

    /// The processes of the runs, by one look at all tasks of the host.
    pub fn processes(&mut self, runs: &Runs) -> Result<Processes, ReadError> {
        tasks::processes(self.task_list()?, runs)
    }

    /// SIGKILL to each that is still of its run; gives how many there were.
    pub fn stop(&self, processes: &Processes) -> Result<usize, StopError> {
        tasks::stop(processes, &self.maps.tags)
    }

    /// Has all tasks of the runs stand still, in cgroups of this name, which are added to `groups` by their places below
    /// the root. Waits for it, but not longer than `patience`.
    pub fn freeze(
        &mut self,
        runs: &Runs,
        name: &str,
        patience: Duration,
        groups: &mut BTreeSet<PathBuf>,
    ) -> Result<(), FreezeError> {
        let Self { on_demand, maps, .. } = self;
        freezer::freeze(|| Ok(on_demand.task_list()?), &maps.tags, runs, name, groups)?;
        freezer::settle(groups, patience)
    }

    /// Lets them go on, in these cgroups and wherever else they stand still by that name.
    pub fn thaw(
        &mut self,
        runs: &Runs,
        name: &str,
        groups: BTreeSet<PathBuf>,
    ) -> Result<(), FreezeError> {
        freezer::thaw(self.task_list()?, runs, name, groups)
    }

    /// Gathers processes that run already in a cgroup of this name, in which they stand still.
    pub fn gather(
        &self,
        source: &Source,
        name: &str,
        caller: u32,
    ) -> Result<Gathered, GatherError> {
        let sharing = |all: &BTreeSet<u32>| self.sharing(|tgid| all.contains(&tgid));
        gather::gather(&self.maps.tags, sharing, source, name, caller)
    }

    /// Tags all of them, or none.
    pub fn tag_gathered(&mut self, gathered: &Gathered, tag: Tag) -> Result<(), GatherError> {
        let Self { on_demand, maps, .. } = self;
        gathered.tag(&mut maps.adoption, || on_demand.adopted_tasks(), tag)
    }

    /// Removes a cgroup that was made for a run.
    pub fn remove_group(&self, group: &Path) -> Result<(), FreezeError> {
        freezer::remove(group, &self.maps.tags)
    }

    /// The cgroups of root's whose names this takes.
    pub fn groups(takes: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        freezer::find(&takes)
    }

    /// Makes a cgroup for a run, unless it is there, and sets what its tasks may use.
    pub fn enclose(group: &Path, bounds: &Bounds) -> Result<(), EncloseError> {
        enclose::enclose(group, bounds)
    }

    /// Moves a process into such a cgroup.
    pub fn admit(group: &Path, tgid: u32, process: BorrowedFd<'_>) -> Result<(), EncloseError> {
        enclose::admit(group, tgid, process)
    }

    /// Moves a process back to where it was.
    pub fn release(to: &Path, tgid: u32) -> Result<(), EncloseError> {
        enclose::release(to, tgid)
    }

    /// The cgroup that a process is in, if that is known.
    pub fn group_of(tgid: u32) -> Option<PathBuf> {
        freezer::place_of(tgid).ok().flatten()
    }

    /// What the tasks of such a cgroup use.
    pub fn usage(group: &Path) -> Usage {
        enclose::usage(group)
    }

    /// Begins to end the connections of processes whose runs are over, and `killed` of them to be killed.
    pub fn hang_up(
        &self,
        processes: Processes,
        killed: &Runs,
    ) -> Result<Option<HangingUp>, HangUpError> {
        let list = self.socket_list().map_err(StopError::from)?;
        sockets::hang_up(processes, killed, list, &self.pins)
    }

    /// Begins to end the connections of these runs that whoever else has. False where nobody looks now.
    pub fn hang_up_elsewhere(&self, runs: Runs) -> Result<bool, HangUpError> {
        elsewhere::hang_up(runs, &self.pins).map(|looked| looked.is_some())
    }

    /// Ends those of these connections that no process has any more; gives how many of each slot's.
    pub fn end_orphans(
        &self,
        lines: &[SocketLine],
    ) -> Result<BTreeMap<u32, EndedConnections>, OrphanError> {
        orphans::end(lines)
    }

    /// Port of the resolver that an earlier daemon had, or 0.
    pub fn resolver(&self) -> Result<u16, ReadError> {
        let resolver = self.maps.resolver.get(&0, 0)?;
        Ok(u16::try_from(resolver.port).unwrap_or_default())
    }

    /// Says that the resolver is at this port of this network namespace from now on.
    pub fn set_resolver(&mut self, port: u16) -> Result<(), ResolverError> {
        let namespace = namespace::cookie().map_err(ResolverError::Namespace)?;
        let resolver = Resolver { namespace, port: port.into(), reserved: 0 };
        Ok(self.maps.resolver.set(0, resolver, 0)?)
    }

    /// Who has asked the resolver.
    pub fn askers(&self) -> &Askers {
        &self.maps.askers
    }

    /// The same for the resolver itself.
    pub fn open_askers(&self) -> Result<Askers, ReadError> {
        Ok(Askers::open(&self.pins)?)
    }

    /// Which connections to the daemon are of runs, for whoever takes them.
    pub fn open_callers(&self) -> Result<Callers, ReadError> {
        Ok(Callers::open(&self.pins)?)
    }

    /// All tagged tasks of the host, the canary included.
    pub fn tasks(&mut self) -> Result<Vec<TaskLine>, ReadError> {
        Ok(list::all(self.task_list()?)?)
    }

    /// Whether there is a tagged task beside the canary's.
    pub fn has_tasks(&mut self) -> Result<bool, ReadError> {
        Ok(list::any(self.task_list()?, |line: &TaskLine| line.slot != CANARY_SLOT)?)
    }

    /// Sees each socket that a run has made and that is still there, the canary's left out.
    pub fn each_socket(&self, mut see: impl FnMut(SocketLine)) -> Result<(), ReadError> {
        list::each(self.socket_list()?, |line| {
            see(line);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Whether there is such a socket.
    pub fn has_sockets(&self) -> Result<bool, ReadError> {
        Ok(list::any(self.socket_list()?, |_: &SocketLine| true)?)
    }

    /// What a process of one thread shares with others; `None` when it is gone.
    pub fn shares(&self, tgid: u32) -> Result<Option<ShareLine>, ReadError> {
        let list = OnDemand::shares(&self.pins, tgid);
        let list = list.map_err(|failure| ReadError::Shares(Box::new(failure)))?;
        Ok(list::all(list)?.pop().filter(|line: &ShareLine| line.tgid == tgid))
    }

    /// What one of these processes has in common with another one, by a look at all tasks of the host.
    pub fn sharing(&self, is_one: impl Fn(u32) -> bool) -> Result<Option<Sharing>, ReadError> {
        let list = OnDemand::all_shares(&self.pins);
        let list = list.map_err(|failure| ReadError::Shares(Box::new(failure)))?;
        Ok(shares::shared(&list::all(list)?, is_one))
    }

    pub fn counters(&self) -> Result<Counters, ReadError> {
        Ok(self.maps.counters()?)
    }

    /// Maps that can run full: name, elements, capacity.
    pub fn fill(&self) -> Vec<(&'static str, u64, u64)> {
        vec![
            ("ANCHORS", self.maps.anchors.elements, u64::from(ANCHORS)),
            ("ENTRIES", self.maps.entries.elements, u64::from(ENTRIES)),
            ("EDGES", self.maps.edges.elements, u64::from(EDGES)),
            ("PEERS", self.maps.peers.elements, u64::from(PEERS)),
            ("PORTS", self.maps.ports.elements, u64::from(PORTS)),
            ("PINS", self.maps.pins.elements, u64::from(PINS)),
        ]
    }

    /// Attaches what the runs need and is not attached yet. What they do not need stays.
    pub fn meet(&mut self, demand: Demand) -> Result<(), DemandError> {
        self.demand = demand;
        self.on_demand.meet(&self.pins, demand)
    }

    /// Detaches all but this.
    pub fn relent(&self, kept: Demand) -> Result<(), DemandError> {
        demand::relent(&self.pins, kept)
    }

    /// Every hook that we have a program for: whether it is needed now, and whether its link is there.
    pub fn hooks(&self) -> Vec<HookState> {
        let newest = self.pins.links().ok().and_then(|mut folders| folders.pop());
        let links = newest.and_then(|folder| Links::read(&folder).ok());
        let attached = |name: &str| match &links {
            Some(links) if links.has(name) => attached::holds(links.folder(), name),
            Some(_) | None => Err("its pinned link is gone".to_owned()),
        };
        let mut states: Vec<HookState> = object::links(&self.wanted)
            .map(|name| HookState { name, needed: true, attached: attached(name) })
            .collect();
        states.extend(demand::states(links.as_ref(), self.demand));
        states
    }

    /// The ring of records, which has one reader.
    pub fn ring(&self) -> Result<Ring, ReadError> {
        Ok(Ring::new(maps::ring(&self.pins)?))
    }

    /// The mounts, and the given paths, as the compiler of policies needs them. These symbolic links are followed; which
    /// others of root's there are on the way comes back.
    pub fn survey(
        &mut self,
        paths: &[PathBuf],
        followed: &BTreeSet<PathBuf>,
    ) -> Result<(Terrain, BTreeSet<PathBuf>), SurveyError> {
        survey::survey(&self.maps, paths, followed)
    }

    /// Takes what is mounted now for what was there before.
    pub fn know_mounts(&mut self) -> Result<(), SurveyError> {
        let mounts = survey::survey(&self.maps, &[], &BTreeSet::new())?.0.mounts;
        self.mounts.moved(mounts);
        Ok(())
    }

    /// The points at which something was mounted or unmounted since this was asked last.
    pub fn moved_mounts(&mut self) -> Result<Vec<PathBuf>, SurveyError> {
        if !self.mounts.is_moved().map_err(SurveyError::Mounts)? {
            return Ok(Vec::new());
        }
        let mounts = survey::survey(&self.maps, &[], &BTreeSet::new())?.0.mounts;
        Ok(self.mounts.moved(mounts))
    }

    /// Where a path lies, as the kernel programs would walk it.
    pub fn locate(&self, path: &Path) -> Result<HostPlace, LocateError> {
        survey::locate(&self.maps, &self.names, path)
    }

    /// Where a name lies, and what has it.
    pub fn locate_name(&self, path: &Path) -> Result<NamedPlace, LocateError> {
        survey::locate_name(&self.maps, &self.names, path)
    }

    /// What the canary finds: a real open and a real connect.
    pub fn prove(&mut self) -> Posture {
        let missing: Vec<_> = self
            .hooks()
            .into_iter()
            .filter(|hook| hook.needed)
            .filter_map(|HookState { name, attached, .. }| {
                Some(format!("{name}: {}", attached.err()?))
            })
            .collect();
        match self.canary.prove(&mut self.maps) {
            Posture::Enforcing if !missing.is_empty() => Posture::Degraded(missing.join(", ")),
            Posture::Off(why) if matches!(preflight::ftrace_is_on(), Ok(false)) => {
                Posture::Off(format!("kernel.ftrace_enabled is 0; {why}"))
            }
            posture => posture,
        }
    }

    /// The same as [`boot_time`], in nanoseconds.
    pub fn boot_ns(&self) -> u64 {
        u64::try_from(boot_time().as_nanos()).unwrap_or(u64::MAX)
    }

    fn socket_list(&self) -> Result<File, ReadError> {
        self.on_demand.socket_list(&self.pins).map_err(ReadError::Sockets)
    }

    fn task_list(&mut self) -> Result<File, ReadError> {
        Ok(self.on_demand.task_list()?)
    }
}
