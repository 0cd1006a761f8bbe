//! The running kernel: the only module that knows aya.
//!
//! Synchronous, and to be called by the daemon's main thread: the kernel programs know the daemon by that thread.

mod apply;
mod attached;
mod btf;
mod canary;
mod cgroup;
mod fields;
mod maps;
mod mounts;
mod object;
mod pins;
mod preflight;
mod ring;
mod start;
mod survey;
mod symbols;
mod sys;
mod tasks;
mod unload;
mod verify;

#[cfg(test)]
mod abi_tests;

use std::{
    fs::File,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use agentid_common::{
    instance::Activity,
    map::{ANCHORS, EDGES, ENTRIES, PEERS, PORTS},
    name::NameKey,
    record::TaskLine,
    tag::Tag,
};
use aya::Ebpf;
use rustix::time::{ClockId, clock_gettime};

use self::{canary::Canary, maps::Maps, pins::Pins};
use crate::{
    image::{HostPlace, Image, MapOp, Terrain},
    instance::Posture,
};

pub use self::{
    apply::ApplyError,
    canary::main as canary_main,
    maps::{Counters, TagError},
    ring::Ring,
    start::{Held, StartError},
    survey::{LocateError, SurveyError},
    tasks::{ReadError, StopError},
    unload::{UnloadError, unload},
    verify::{VerifyError, verify},
};

/// Where the kernel's side of a host lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Folder of the pins, in a bpffs.
    pub bpffs: PathBuf,
    /// Load the programs even when an earlier daemon has left those of this same build attached.
    pub anew: bool,
}

/// The programs and maps, loaded and attached. Dropping it ends nothing: the pins hold.
pub struct Kernel {
    ebpf: Ebpf,
    maps: Maps,
    pins: Pins,
    canary: Canary,
    names: NameKey,
    /// The LSM hooks that this kernel has a program of ours for.
    wanted: Vec<&'static str>,
}

impl Kernel {
    /// Loads and attaches everything, or nothing; takes over what an earlier daemon left.
    pub fn start(options: &Options) -> Result<(Self, Vec<Held>), StartError> {
        let started = start::start(&options.bpffs, options.anew)?;
        let kernel = Self {
            ebpf: started.ebpf,
            maps: started.maps,
            pins: started.pins,
            canary: started.canary,
            names: started.names,
            wanted: started.hooks,
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

    pub fn tag_of(&self, process: BorrowedFd<'_>) -> Result<Option<Tag>, TagError> {
        self.maps.tags.get(process)
    }

    pub fn activity(&self, slot: u32) -> Result<Activity, ReadError> {
        Ok(self.maps.activity.get(&slot, 0)?)
    }

    /// One pass over a run's processes: SIGKILL to each; gives how many there were.
    pub fn stop(&mut self, slot: u32, generation: u64) -> Result<usize, StopError> {
        tasks::stop(self.task_list()?, &self.maps.tags, slot, generation)
    }

    /// All tagged tasks of the host, the canary included.
    pub fn tasks(&mut self) -> Result<Vec<TaskLine>, ReadError> {
        tasks::list(self.task_list()?)
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
        ]
    }

    /// Every hook that is wanted, and whether its link is there.
    pub fn hooks(&self) -> Vec<(&'static str, Result<(), String>)> {
        let links = self.pins.links().ok().and_then(|mut folders| folders.pop());
        let state = |name: &str| match &links {
            Some(folder) if folder.join(name).exists() => attached::holds(folder, name),
            Some(_) | None => Err("its pinned link is gone".to_owned()),
        };
        object::links(&self.wanted).map(|name| (name, state(name))).collect()
    }

    /// The ring of records; it can be taken once.
    pub fn ring(&mut self) -> Result<Ring, ReadError> {
        maps::ring(&mut self.ebpf).map(Ring::new).map_err(|_| ReadError::RingTaken)
    }

    /// The mounts, and the given paths, as the compiler of policies needs them.
    pub fn survey(&mut self, paths: &[PathBuf]) -> Result<Terrain, SurveyError> {
        survey::survey(&self.maps, paths)
    }

    /// Where a path lies, as the kernel programs would walk it.
    pub fn locate(&self, path: &Path) -> Result<HostPlace, LocateError> {
        survey::locate(&self.maps, &self.names, path)
    }

    /// What the canary finds: a real open and a real connect.
    pub fn prove(&mut self) -> Posture {
        let missing: Vec<_> = self
            .hooks()
            .into_iter()
            .filter_map(|(name, state)| state.err().map(|why| format!("{name}: {why}")))
            .collect();
        match self.canary.prove(&mut self.maps) {
            Posture::Enforcing if !missing.is_empty() => Posture::Degraded(missing.join(", ")),
            Posture::Off(why) if matches!(preflight::ftrace_is_on(), Ok(false)) => {
                Posture::Off(format!("kernel.ftrace_enabled is 0; {why}"))
            }
            posture => posture,
        }
    }

    /// Nanoseconds of `CLOCK_BOOTTIME`, which deadlines are compared with.
    pub fn boot_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
    }

    fn task_list(&mut self) -> Result<File, ReadError> {
        Ok(object::task_list(&mut self.ebpf)?)
    }
}
