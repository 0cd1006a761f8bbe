//! The set of programs that is attached: an earlier daemon's when it is of this same build, else a new one.

use std::path::{Path, PathBuf};

use aya::{Btf, Ebpf};

use super::{
    cgroup,
    demand::OnDemand,
    object,
    pins::{self, PinError, Pins},
    start::StartError,
};

/// The folder of the only set that is attached, if it is whole and of this build. Nothing has to be loaded then, and
/// not for an instant do two sets decide.
pub fn complete(
    pins: &Pins,
    build: u64,
    hooks: &[&'static str],
) -> Result<Option<PathBuf>, PinError> {
    let folders = pins.links()?;
    let [folder] = folders.as_slice() else { return Ok(None) };
    let is_there = |name: &str| folder.join(name).exists() && holds(folder, name).is_ok();
    let is_loaded = |name: &str| pins::program(folder, name).exists();
    let whole = || object::links(hooks).all(is_there) && object::not_always().all(is_loaded);
    Ok((pins::is_of(folder, build) && whole()).then(|| folder.clone()))
}

/// Whether a link that is there still has its program attached. Only one to a cgroup may not.
pub fn holds(folder: &Path, name: &str) -> Result<(), String> {
    let mut on_cgroups = object::on_cgroups().chain([object::SYSCTL]);
    if on_cgroups.all(|(of_cgroups, _)| of_cgroups != name) {
        return Ok(());
    }
    match cgroup::is_attached(&folder.join(name)) {
        Ok(true) => Ok(()),
        Ok(false) => Err("its link was detached".to_owned()),
        Err(error) => Err(format!("its link cannot be read: {error}")),
    }
}

/// Attaches this build's programs beside all others, and then detaches those: until then both sets decide, so that no
/// operation is let through in between.
pub fn replace(
    ebpf: &mut Ebpf,
    btf: &Btf,
    hooks: &[&'static str],
    pins: &Pins,
    build: u64,
) -> Result<(PathBuf, OnDemand), StartError> {
    let old = pins.links()?;
    let new = pins.new_links(build)?;
    let attached = object::attach(ebpf, btf, hooks, &new).map_err(StartError::from);
    let on_demand = attached.and_then(|()| {
        object::load_to_pins(ebpf, btf, &new)?;
        let mut on_demand = OnDemand::pinned(&new)?;
        on_demand.take_over(&old, &new)?;
        Ok(on_demand)
    });
    let on_demand = match on_demand {
        Ok(on_demand) => on_demand,
        Err(error) => {
            pins::remove_links(&new)?;
            return Err(error);
        }
    };
    for folder in old {
        pins::remove_links(&folder)?;
    }
    Ok((new, on_demand))
}
