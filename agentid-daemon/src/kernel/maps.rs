//! Typed handles on the programs' maps.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use agentid_common::{
    counter,
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, Identity, Node},
    instance::{Activity, Instance},
    map::{Adoption, Host, Resolver},
    net::{PeerKey, Pins as Pinned, PortKey, PortRule},
    tag::{CALLS, KEEPER_SLOT, Tag},
};
use aya::maps::{
    Array, HashMap, InodeStorage, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf, SkStorage,
};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::{askers::Askers, pins::Pins, sockets::SOCKETS};

#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    #[error("open the map {name}")]
    Type { name: &'static str, source: MapError },
}

#[derive(Debug, thiserror::Error)]
pub enum TagError {
    #[error("tag the process: it carries a tag already")]
    Tagged,
    #[error("tag the process: it does not belong to the run that it should come from")]
    NotOf,
    #[error("tag the process: it exits")]
    Exiting,
    #[error("tag the process")]
    Map(#[source] MapError),
    #[error("open a descriptor of this process")]
    Process(#[source] io::Error),
}

/// Fails when the key is there already (include/uapi/linux/bpf.h: `BPF_NOEXIST`).
pub const NO_EXIST: u64 = 1;

/// Fails when the key is not there (`BPF_EXIST`).
const EXIST: u64 = 2;

/// Task storage, whose key is a process descriptor.
pub struct Tags(HashMap<MapData, i32, Tag>);

impl Tags {
    /// aya has no type for task storage; to the system call it is a hash with descriptors for keys.
    fn new(map: MapData) -> Result<Self, MapsError> {
        let failed = |source| MapsError::Type { name: "TAGS", source };
        HashMap::try_from(Map::HashMap(map)).map(Self).map_err(failed)
    }

    /// The tags that an earlier daemon pinned.
    pub fn pinned(path: &Path) -> Result<Self, MapsError> {
        Self::new(
            MapData::from_pin(path).map_err(|source| MapsError::Type { name: "TAGS", source })?,
        )
    }

    pub fn set(&mut self, process: BorrowedFd<'_>, tag: &Tag) -> Result<(), TagError> {
        match self.0.insert(process.as_raw_fd(), tag, NO_EXIST) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(error)) if is(&error.io_error, libc::EEXIST) => {
                Err(TagError::Tagged)
            }
            Err(error) => Err(TagError::Map(error)),
        }
    }

    /// Puts one tag in another's place; the old one stays whole for whoever looks at it.
    pub fn replace(
        &mut self,
        process: BorrowedFd<'_>,
        from: &Tag,
        to: &Tag,
    ) -> Result<(), TagError> {
        if self.get(process)? != Some(*from) {
            return Err(TagError::NotOf);
        }
        self.0.insert(process.as_raw_fd(), to, EXIST).map_err(TagError::Map)
    }

    /// The tag of a process's first thread, also when it has exited and was not waited for.
    pub fn get(&self, process: BorrowedFd<'_>) -> Result<Option<Tag>, TagError> {
        match self.0.get(&process.as_raw_fd(), 0) {
            Ok(tag) => Ok(Some(tag)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(MapError::SyscallError(error)) if is(&error.io_error, libc::ENOENT) => Ok(None),
            Err(error) => Err(TagError::Map(error)),
        }
    }

    /// Marks this process as the daemon, for the guards. To be called by its only thread.
    pub fn keep_this_process(&mut self) -> Result<(), TagError> {
        let this = this_process().map_err(TagError::Process)?;
        let tag = Tag { slot: KEEPER_SLOT, ..Tag::default() };
        match self.set(this.as_fd(), &tag) {
            Ok(()) | Err(TagError::Tagged) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn this_process() -> io::Result<OwnedFd> {
    Ok(pidfd_open(getpid(), PidfdFlags::empty())?)
}

fn is(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}

/// Socket storage of the daemon's own ends of connections.
pub struct Callers(SkStorage<MapData, Tag>);

impl Callers {
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self(typed(pins, SOCKETS)?))
    }

    /// The run that is at the other end, if it was one when it connected.
    pub fn get(&self, connection: BorrowedFd<'_>) -> Result<Option<Tag>, TagError> {
        match self.0.get(&connection.as_raw_fd(), 0) {
            Ok(tag) if tag.mark & CALLS != 0 => Ok(Some(Tag { mark: 0, ..tag })),
            Ok(_) | Err(MapError::KeyNotFound) => Ok(None),
            Err(MapError::SyscallError(error)) if is(&error.io_error, libc::ENOENT) => Ok(None),
            Err(error) => Err(TagError::Map(error)),
        }
    }
}

/// All maps that the daemon reads or writes.
pub struct Maps {
    pub tags: Tags,
    pub callers: Callers,
    pub instances: Array<MapData, Instance>,
    pub activity: Array<MapData, Activity>,
    pub anchors: Counted<HashMap<MapData, AnchorKey, u32>>,
    pub entries: Counted<HashMap<MapData, EntryKey, Entry>>,
    pub edges: Counted<HashMap<MapData, EdgeKey, u32>>,
    pub nodes: Array<MapData, Node>,
    pub globs: Array<MapData, Glob>,
    pub peers: Counted<LpmTrie<MapData, PeerKey, u32>>,
    pub ports: Counted<LpmTrie<MapData, PortKey, PortRule>>,
    pub pins: Counted<HashMap<MapData, PeerKey, Pinned>>,
    pub askers: Askers,
    pub resolver: Array<MapData, Resolver>,
    pub adoption: Array<MapData, Adoption>,
    pub host: Array<MapData, Host>,
    pub identities: InodeStorage<MapData, Identity>,
    pub guards: InodeStorage<MapData, u32>,
    /// See [`Self::edit`].
    edition: Array<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
}

/// A map with the number of its elements, which the kernel does not tell.
pub struct Counted<M> {
    pub map: M,
    pub elements: u64,
}

impl Maps {
    /// Opens the maps at their pins; the ring is opened apart.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self {
            tags: Tags::pinned(&pins.map("TAGS"))?,
            callers: Callers::open(pins)?,
            instances: typed(pins, "INSTANCES")?,
            activity: typed(pins, "ACTIVITY")?,
            anchors: counted(pins, "ANCHORS")?,
            entries: counted(pins, "ENTRIES")?,
            edges: counted(pins, "EDGES")?,
            nodes: typed(pins, "NODES")?,
            globs: typed(pins, "GLOBS")?,
            peers: counted(pins, "PEERS")?,
            ports: counted(pins, "PORTS")?,
            pins: counted(pins, "PINS")?,
            askers: Askers::open(pins)?,
            resolver: typed(pins, "RESOLVER")?,
            adoption: typed(pins, "ADOPTION")?,
            host: typed(pins, "HOST")?,
            identities: typed(pins, "IDENTITIES")?,
            guards: typed(pins, "GUARDS")?,
            edition: typed(pins, "EDITION")?,
            counters: typed(pins, "COUNTERS")?,
        })
    }

    /// Says that the tables of this edition are about to be written: what the programs remember of them is no longer good,
    /// and nothing new is remembered.
    pub fn edit(&mut self, of: u32) -> Result<(), MapError> {
        let edition = self.edition.get(&of, 0)?;
        self.edition.set(of, edition | 1, 0)
    }

    /// Says that the tables are whole again.
    pub fn publish(&mut self, of: u32) -> Result<(), MapError> {
        let edition = self.edition.get(&of, 0)?;
        self.edition.set(of, (edition | 1) + 1, 0)
    }

    /// Every counter, summed over the CPUs.
    pub fn counters(&self) -> Result<Counters, MapError> {
        (0..counter::COUNT)
            .map(|index| Ok(self.counters.get(&index, 0)?.iter().sum()))
            .collect::<Result<_, _>>()
            .map(Counters)
    }
}

/// What the kernel programs have counted, by the indices of `agentid_common::counter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters(Vec<u64>);

impl Counters {
    pub fn get(&self, index: u32) -> u64 {
        self.0.get(index as usize).copied().unwrap_or_default()
    }
}

/// The ring of records.
pub fn ring(pins: &Pins) -> Result<RingBuf<MapData>, MapsError> {
    typed(pins, "EVENTS")
}

pub(super) fn typed<M: TryFrom<Map, Error = MapError>>(
    pins: &Pins,
    name: &'static str,
) -> Result<M, MapsError> {
    let map = MapData::from_pin(pins.map(name)).and_then(Map::from_map_data).and_then(M::try_from);
    map.map_err(|source| MapsError::Type { name, source })
}

/// To be counted when the map is read as a whole.
fn counted<M: TryFrom<Map, Error = MapError>>(
    pins: &Pins,
    name: &'static str,
) -> Result<Counted<M>, MapsError> {
    Ok(Counted { map: typed(pins, name)?, elements: 0 })
}

/// Writes an element and keeps count of it.
pub fn put<M>(
    counted: &mut Counted<M>,
    insert: impl Fn(&mut M, u64) -> Result<(), MapError>,
) -> Result<(), MapError> {
    match insert(&mut counted.map, NO_EXIST) {
        Ok(()) => {
            counted.elements += 1;
            Ok(())
        }
        Err(MapError::SyscallError(error)) if is(&error.io_error, libc::EEXIST) => {
            insert(&mut counted.map, 0)
        }
        Err(error) => Err(error),
    }
}

/// Removes an element, if it is there, and keeps count of it.
pub fn remove<M>(
    counted: &mut Counted<M>,
    remove: impl FnOnce(&mut M) -> Result<(), MapError>,
) -> Result<(), MapError> {
    match remove(&mut counted.map) {
        Ok(()) => {
            counted.elements = counted.elements.saturating_sub(1);
            Ok(())
        }
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if is(&error.io_error, libc::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}
