//! The end of enforcement on a host, when it is asked for and nobody is held any more.

use std::{fs, io, path::PathBuf};

use agentid_common::{
    instance::Instance,
    map::{CANARY_SLOT, SLOTS},
};
use aya::maps::{Array, Map, MapData, MapError};

use super::{
    Options,
    maps::{MapsError, TagError, Tags},
    pins::{self, PinError, Pins},
};

#[derive(Debug, thiserror::Error)]
pub enum UnloadError {
    #[error(
        "end enforcement: {0} runs are alive; revoke each of them first (`agentid ps`, `agentid revoke ID`)"
    )]
    Alive(usize),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error("read the kernel's maps")]
    Read(#[source] MapError),
    #[error(transparent)]
    Keeper(#[from] TagError),
    #[error("remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// Detaches every program and forgets every map, unless a run is alive.
pub fn unload(options: &Options) -> Result<(), UnloadError> {
    let pins = Pins::open(&options.bpffs)?;
    if pins.map("INSTANCES").exists() {
        let alive = alive(&pins)?;
        if alive > 0 {
            return Err(UnloadError::Alive(alive));
        }
    }
    if pins.map("TAGS").exists() {
        Tags::pinned(&pins.map("TAGS"))?.keep_this_process()?;
    }
    for folder in pins.links()? {
        pins::remove_links(&folder)?;
    }
    pins::remove(&pins.maps())?;
    let path = pins.folder().to_owned();
    fs::remove_dir(&path).map_err(|source| UnloadError::Remove { path, source })
}

fn alive(pins: &Pins) -> Result<usize, UnloadError> {
    let failed = |source| MapsError::Type { name: "INSTANCES", source };
    let map = MapData::from_pin(pins.map("INSTANCES")).map_err(failed)?;
    let instances: Array<_, Instance> = Array::try_from(Map::Array(map)).map_err(failed)?;
    let mut alive = 0;
    for slot in (0..SLOTS).filter(|&slot| slot != CANARY_SLOT) {
        let instance = instances.get(&slot, 0).map_err(UnloadError::Read)?;
        alive += usize::from(instance.generation != 0);
    }
    Ok(alive)
}
