//! The end of enforcement on a host, when it is asked for and nobody is held any more.

use std::{fs, io, path::PathBuf};

use agentid_common::{instance::Instance, map::CANARY_SLOT};

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
    Read(#[source] io::Error),
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
    let instances = pins.instances().map_err(UnloadError::Read)?;
    let used =
        |&(slot, instance): &(u32, Instance)| slot != CANARY_SLOT && instance.generation != 0;
    Ok((0..).zip(instances).filter(used).count())
}
