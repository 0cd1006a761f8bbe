//! The kernel's table of instances itself, for states that no request brings about.
//!
//! Whoever may write there is outside of what agentid defends against; the suite is untagged root.

use std::{
    collections::HashMap,
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use agentid_common::{instance::Instance, map::SLOTS, tag::InvocationId};
use anyhow::{Context as _, Result};

use super::scene::PINS;

/// include/uapi/linux/bpf.h: `enum bpf_cmd`.
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const OBJ_GET: libc::c_long = 7;

/// `union bpf_attr` of an element.
#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` of a pin.
#[repr(C)]
#[derive(Default)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The pinned table of instances.
pub struct Table {
    map: OwnedFd,
}

impl Table {
    pub fn open() -> Result<Self> {
        let path = Path::new(PINS).join("maps/INSTANCES");
        let text = CString::new(path.as_os_str().as_bytes())?;
        let mut pin = Pin { path: text.as_ptr().addr() as u64, ..Pin::default() };
        let found = bpf(OBJ_GET, (&raw mut pin).cast(), size_of::<Pin>())
            .with_context(|| format!("failed to open {}", path.display()))?;
        // SAFETY: the call has just made the descriptor, and nobody else has it.
        Ok(Self { map: unsafe { OwnedFd::from_raw_fd(RawFd::try_from(found)?) } })
    }

    /// The slot of a run, and what it holds.
    pub fn find(&self, id: &str) -> Result<(u32, Instance)> {
        let invocation = invocation(id)?;
        for slot in 0..SLOTS {
            let instance = self.get(slot)?;
            if instance.invocation == invocation && instance.generation != 0 {
                return Ok((slot, instance));
            }
        }
        anyhow::bail!("no slot holds {id}")
    }

    /// The slots of many runs.
    pub fn slots(&self, ids: &[String]) -> Result<Vec<u32>> {
        let mut found = HashMap::new();
        for slot in 0..SLOTS {
            let instance = self.get(slot)?;
            if instance.generation != 0 {
                found.insert(instance.invocation, slot);
            }
        }
        let of = |id: &String| found.get(&invocation(id)?).copied().context("no slot holds it");
        ids.iter().map(|id| of(id).with_context(|| id.clone())).collect()
    }

    pub fn get(&self, slot: u32) -> Result<Instance> {
        let mut instance = Instance::default();
        self.element(MAP_LOOKUP_ELEM, slot, (&raw mut instance).addr())?;
        Ok(instance)
    }

    pub fn set(&self, slot: u32, mut instance: Instance) -> Result<()> {
        self.element(MAP_UPDATE_ELEM, slot, (&raw mut instance).addr())
    }

    /// `value` is where an [`Instance`] lies.
    fn element(&self, command: libc::c_long, slot: u32, value: usize) -> Result<()> {
        let mut element = Element {
            map: self.map.as_raw_fd().cast_unsigned(),
            key: (&raw const slot).addr() as u64,
            value: value as u64,
            ..Element::default()
        };
        bpf(command, (&raw mut element).cast(), size_of::<Element>())
            .with_context(|| format!("failed to reach slot {slot}"))?;
        Ok(())
    }
}

fn bpf(command: libc::c_long, attr: *mut libc::c_void, size: usize) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is the union's member for `command`, and what it points to outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// The bytes of a UUID as it is printed.
fn invocation(id: &str) -> Result<InvocationId> {
    let digits: String = id.chars().filter(|sign| *sign != '-').collect();
    let number = u128::from_str_radix(&digits, 16).with_context(|| format!("{id} is no ID"))?;
    Ok(InvocationId(number.to_be_bytes()))
}
