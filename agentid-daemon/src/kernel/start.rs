//! From nothing, or from what an earlier daemon left, to a kernel that enforces.
//!
//! ```text
//!   preflight ─▶ pins ─▶ object and maps ─▶ this process is the keeper ─▶ programs attached ─▶ guards set ─▶ canary
//! ```

use std::{fs::File, io, os::fd::AsFd, path::Path};

use agentid_common::{
    ABI_VERSION,
    instance::{Activity, Instance},
    map::{CANARY_SLOT, GUARD_FOLDER, GUARD_ROOT, Host},
    name::NameKey,
};
use aya::{
    BtfError, Ebpf,
    maps::{Array, Map, MapData, MapError},
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    Options, attached,
    btf::Btf,
    canary::{Canary, CanaryError},
    demand::{DemandError, OnDemand},
    fields::{self, FieldError, Globals, KERNEL_BTF},
    maps::{Maps, MapsError, TagError, Tags},
    object::{self, ObjectError},
    pins::{self, PinError, Pins},
    preflight::{self, PreflightError},
};
use crate::instance::Posture;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("watch the mounts of this process")]
    Mounts(#[source] io::Error),
    #[error("map the counts of live tasks")]
    Live(#[source] io::Error),
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Fields(#[from] FieldError),
    #[error("read {KERNEL_BTF}")]
    Btf(#[from] BtfError),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Demand(#[from] DemandError),
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error(
        "take over from an earlier agentid: the layout of its maps is of {found}, this one needs version {ABI_VERSION}; \
         end all runs, remove them with the earlier version's `agentidd unload`, and start again"
    )]
    OtherAbi { found: String },
    #[error("read the kernel's maps")]
    Read(#[source] MapError),
    #[error("write the kernel's maps")]
    Write(#[source] MapError),
    #[error("draw a random key")]
    Random(#[source] io::Error),
    #[error(transparent)]
    Keeper(#[from] TagError),
    #[error("guard {path}")]
    Guard { path: String, source: io::Error },
    #[error(transparent)]
    Canary(#[from] CanaryError),
}

/// An instance that the maps held when they were taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub slot: u32,
    pub instance: Instance,
    pub activity: Activity,
}

/// Everything that is up after a start.
pub struct Started {
    pub on_demand: OnDemand,
    pub maps: Maps,
    pub pins: Pins,
    pub canary: Canary,
    pub names: NameKey,
    pub held: Vec<Held>,
    /// The LSM hooks that this kernel has a program of ours for.
    pub hooks: Vec<&'static str>,
}

pub fn start(options: &Options) -> Result<Started, StartError> {
    let bytes = std::fs::read(KERNEL_BTF).map_err(FieldError::Unreadable)?;
    let kernel = Btf::parse(&bytes).map_err(FieldError::Malformed)?;
    preflight::check(&kernel)?;
    let hooks = object::hooks(&kernel);

    let pins = Pins::open(&options.bpffs)?;
    let adopting = pins.are_there()?;
    let mut earlier = Host::default();
    if adopting {
        earlier = earlier_host(&pins)?;
        // The guards of the earlier programs hold against everyone but a keeper.
        Tags::pinned(&pins.map("TAGS"))?.keep_this_process()?;
    }
    let told = (earlier.rename_lock != 0).then_some(earlier.rename_lock);
    let globals = fields::globals(&kernel, told)?;
    match set_up(&pins, adopting, &globals, hooks, options) {
        Ok(started) => Ok(started),
        Err(error) if adopting => Err(error),
        Err(error) => {
            // Maps without programs hold nobody; the next start shall find a clean folder.
            if let Err(error) = pins::remove(&pins.maps()) {
                tracing::warn!(%error, "failed to clean up after a start that failed");
            }
            Err(error)
        }
    }
}

fn set_up(
    pins: &Pins,
    adopting: bool,
    globals: &Globals,
    hooks: Vec<&'static str>,
    options: &Options,
) -> Result<Started, StartError> {
    // Maps that are not there yet are the loader's to make. Loading takes most of a start, and is left out where the
    // programs of an earlier one stay.
    let loaded = if adopting { None } else { Some(load(pins, globals)?) };
    let mut maps = Maps::open(pins)?;
    let names = host(&mut maps, globals.rename_lock, options.arguments)?;
    maps.tags.keep_this_process()?;

    let build = object::fingerprint(&names, globals);
    let kept = attached::complete(pins, build, &hooks)?.filter(|_| !options.anew);
    if let Some(links) = &kept {
        guard_all(&mut maps, pins, links)?;
        let on_demand = OnDemand::pinned(links)?;
        let mut canary = Canary::start(&mut maps)?;
        match canary.prove(&mut maps) {
            Posture::Enforcing => {
                let held = held(&maps, pins)?;
                let pins = pins.clone();
                return Ok(Started { on_demand, maps, pins, canary, names, held, hooks });
            }
            posture => tracing::warn!(%posture, "the attached programs are replaced"),
        }
    }
    let Loaded { btf, mut ebpf } = match loaded {
        Some(loaded) => loaded,
        None => load(pins, globals)?,
    };
    let (links, on_demand) = attached::replace(&mut ebpf, &btf, &hooks, pins, build)?;
    guard_all(&mut maps, pins, &links)?;
    let canary = Canary::start(&mut maps)?;
    let held = held(&maps, pins)?;
    Ok(Started { on_demand, maps, pins: pins.clone(), canary, names, held, hooks })
}

/// The programs before the verifier has seen them; their maps are pinned.
struct Loaded {
    btf: aya::Btf,
    ebpf: Ebpf,
}

fn load(pins: &Pins, globals: &Globals) -> Result<Loaded, StartError> {
    let btf = aya::Btf::from_sys_fs()?;
    let ebpf = object::open(&btf, globals, pins)?;
    Ok(Loaded { btf, ebpf })
}

/// What an earlier start has written into the maps that are there, or zeros.
pub fn earlier_host(pins: &Pins) -> Result<Host, StartError> {
    let failed = |source| MapsError::Type { name: "HOST", source };
    let map = MapData::from_pin(pins.map("HOST")).map_err(failed)?;
    // A map of another shape is of another layout, whatever it says.
    let Ok(host) = Array::<_, Host>::try_from(Map::Array(map)) else {
        return Err(StartError::OtherAbi { found: "another size".into() });
    };
    let host = host.get(&0, 0).map_err(StartError::Read)?;
    // 0: an earlier start ended before it wrote its number, and nothing was ever tagged under it.
    match host.abi {
        ABI_VERSION | 0 => Ok(host),
        other => Err(StartError::OtherAbi { found: format!("version {other}") }),
    }
}

/// The key of names: the maps' own, or a new one for new maps. Nothing of this daemon's opens folders yet, which would be counted in
/// there meanwhile.
fn host(maps: &mut Maps, rename_lock: u64, arguments: u32) -> Result<NameKey, StartError> {
    let host = maps.host.get(&0, 0).map_err(StartError::Read)?;
    let host = if host.abi == ABI_VERSION {
        Host { arguments, ..host }
    } else {
        let names = NameKey { k0: random()?, k1: random()? };
        Host { abi: ABI_VERSION, arguments, names, rename_lock, ..host }
    };
    maps.host.set(0, host, 0).map_err(StartError::Write)?;
    Ok(host.names)
}

fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| StartError::Random(error.into()))?;
    if filled == bytes.len() {
        Ok(u64::from_ne_bytes(bytes))
    } else {
        Err(StartError::Random(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Marks all folders of ours for the guards.
fn guard_all(maps: &mut Maps, pins: &Pins, links: &Path) -> Result<(), StartError> {
    guard(maps, pins.root(), GUARD_ROOT)?;
    [pins.folder(), &pins.maps(), links]
        .into_iter()
        .try_for_each(|folder| guard(maps, folder, GUARD_FOLDER))
}

/// Marks a folder of ours for the guards.
fn guard(maps: &mut Maps, path: &Path, mark: u32) -> Result<(), StartError> {
    let failed = |source| StartError::Guard { path: path.display().to_string(), source };
    let folder = File::open(path).map_err(failed)?;
    maps.guards.insert(&folder.as_fd(), mark, 0).map_err(|source| failed(io::Error::other(source)))
}

/// Every slot that a run holds.
pub fn held(maps: &Maps, pins: &Pins) -> Result<Vec<Held>, StartError> {
    let instances = pins.instances().map_err(MapError::from).map_err(StartError::Read)?;
    let used = (0..)
        .zip(instances)
        .filter(|(slot, instance)| *slot != CANARY_SLOT && instance.generation != 0);
    let held = used.map(|(slot, instance)| {
        let activity = maps.activity.get(&slot, 0).map_err(StartError::Read)?;
        Ok(Held { slot, instance, activity })
    });
    held.collect()
}
