//! A policy for one run: the folders that were given for its parameters.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentid_common::file::{AnchorKey, Entry, EntryKey, HEADS, is_pseudo};

use super::{
    automaton::State,
    compile::CompiledPolicy,
    diff::MapOp,
    emit::Removal,
    numbers::{Full, Held, Need, Numbers},
    terrain::{Filesystem, Folder, Ground, Mount, Name, Terrain, names},
};

/// Why parameters cannot be bound.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("parameter `{0}` is not given")]
    Missing(String),
    #[error("policy has no parameter `{0}`")]
    Unknown(String),
    #[error("{} was not surveyed", .0.display())]
    NotSurveyed(PathBuf),
    #[error("{} does not exist", .0.display())]
    NotThere(PathBuf),
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("{} is the root of everything, which no parameter can be", .0.display())]
    Everything(PathBuf),
    #[error("{} lies on a filesystem of the kernel's own, so no folder of it can be given", .0.display())]
    Pseudo(PathBuf),
    #[error("{} lies on a filesystem that was mounted after the policy was compiled, and the policy denies something there: try again", .0.display())]
    MountedLater(PathBuf),
    #[error("parameter `{param}` reaches {} in two ways with different rules", .folder.display())]
    TwoWays { param: String, folder: PathBuf },
    #[error("maps have no room for the parameters")]
    Full(#[from] Full),
}

/// The parameters of one run as the maps hold them.
#[derive(Debug)]
pub struct Binding {
    /// What the instance names it by.
    pub scope: u64,
    /// Makes it known; nothing refers to it before an instance does.
    pub ops: Vec<MapOp>,
    /// Takes it back, once no instance refers to it. [`Numbers::release`] of `held` comes after.
    pub removal: Vec<MapOp>,
    pub held: Held,
    /// The folders that were given, by parameter.
    pub given: BTreeMap<String, AnchorKey>,
    pub ground: Ground,
}

/// A folder where the parameters' rules begin.
struct Begin {
    path: PathBuf,
    filesystem: Filesystem,
    inside: Vec<Name>,
    states: [State; HEADS],
}

impl CompiledPolicy {
    /// Binds; `numbers` is changed only on success. The terrain must hold a survey of the given folders. A path at which
    /// there `was` another folder when it was given grants nothing: whoever could move that one away would choose what
    /// the rules are of.
    pub fn bind(
        &self,
        params: &BTreeMap<String, PathBuf>,
        was: &BTreeMap<String, AnchorKey>,
        terrain: &Terrain,
        numbers: &mut Numbers,
    ) -> Result<Binding, BindError> {
        if let Some(name) = params.keys().find(|name| self.params.iter().all(|(p, _)| p != *name)) {
            return Err(BindError::Unknown(name.clone()));
        }
        let (mut begins, mut given) = (BTreeMap::new(), BTreeMap::new());
        for (head, (name, start)) in (1..).zip(&self.params) {
            let path = params.get(name).ok_or_else(|| BindError::Missing(name.clone()))?;
            let folder =
                terrain.folder(path).ok_or_else(|| BindError::NotSurveyed(path.clone()))?;
            let (key, mount) = usable(folder, terrain)?;
            given.insert(name.clone(), key);
            if was.get(name).is_none_or(|was| *was == key) {
                self.begin(&mut begins, head, *start, (folder, key, mount), terrain)?;
            }
        }
        for begin in begins.values_mut() {
            begin.states[0] = self.policy_state(begin)?;
        }
        self.agree(&begins)?;
        let ground = Ground::of(params.values().filter_map(|path| terrain.folder(path)));
        self.emit(&begins, (given, ground), numbers)
    }

    /// Where one parameter begins: at its folder, and at each mount below.
    fn begin(
        &self,
        begins: &mut BTreeMap<AnchorKey, Begin>,
        head: usize,
        start: State,
        (folder, key, mount): (&Folder, AnchorKey, &Mount),
        terrain: &Terrain,
    ) -> Result<(), BindError> {
        let resolved = names(&folder.resolved);
        let here = (folder.resolved.as_path(), mount.inside(&folder.resolved));
        self.put(begins, head, key, (mount, here), start, terrain)?;
        for mount in terrain.mounts.iter().filter(|mount| is_usable(mount)) {
            let point = names(&mount.point);
            // Of the others a grant would be one on all of the type, or on the devices of the host.
            if let (Some(below), Some(key)) =
                (point.strip_prefix(resolved.as_slice()), mount.anchor)
                && !below.is_empty()
            {
                let state = self.automaton.run(start, below);
                let here = (mount.point.as_path(), names(&mount.root));
                self.put(begins, head, key, (mount, here), state, terrain)?;
            }
        }
        Ok(())
    }

    fn put(
        &self,
        begins: &mut BTreeMap<AnchorKey, Begin>,
        head: usize,
        key: AnchorKey,
        (mount, (path, inside)): (&Mount, (&Path, Vec<Name>)),
        state: State,
        terrain: &Terrain,
    ) -> Result<(), BindError> {
        let Some(filesystem) = terrain.filesystem(mount).filter(|_| state != 0) else {
            return Ok(());
        };
        let begin = begins.entry(key).or_insert_with(|| Begin {
            path: path.to_path_buf(),
            filesystem,
            inside,
            states: [0; HEADS],
        });
        let before = begin.states[head];
        begin.states[head] = if self.automaton.includes(state, before) {
            state
        } else if self.automaton.includes(before, state) {
            before
        } else {
            return Err(self.two_ways(head, path));
        };
        Ok(())
    }

    fn two_ways(&self, head: usize, folder: &Path) -> BindError {
        let param = self.params.get(head - 1).map(|(name, _)| name.clone()).unwrap_or_default();
        BindError::TwoWays { param, folder: folder.to_path_buf() }
    }

    /// What the policy's absolute patterns say at the folder.
    fn policy_state(&self, begin: &Begin) -> Result<State, BindError> {
        if let Some(start) = self.starts.get(&begin.filesystem) {
            return Ok(self.automaton.run(*start, &begin.inside));
        }
        let path = names(&begin.path);
        if self.denied.iter().any(|denied| denied.starts_with(&path) || path.starts_with(denied)) {
            return Err(BindError::MountedLater(begin.path.clone()));
        }
        Ok(self.automaton.run(self.unknown, &begin.inside))
    }

    /// The nearest entry decides alone, so one below another of the same head must say all that the other says.
    fn agree(&self, begins: &BTreeMap<AnchorKey, Begin>) -> Result<(), BindError> {
        for upper in begins.values() {
            for lower in begins.values().filter(|lower| lower.filesystem == upper.filesystem) {
                let Some(between) = lower.inside.strip_prefix(upper.inside.as_slice()) else {
                    continue;
                };
                for head in 1..HEADS {
                    let from_above = self.automaton.run(upper.states[head], between);
                    let own = lower.states[head];
                    if own != 0 && !self.automaton.includes(own, from_above) {
                        return Err(self.two_ways(head, &lower.path));
                    }
                }
            }
        }
        Ok(())
    }

    fn emit(
        &self,
        begins: &BTreeMap<AnchorKey, Begin>,
        (given, ground): (BTreeMap<String, AnchorKey>, Ground),
        numbers: &mut Numbers,
    ) -> Result<Binding, BindError> {
        let need = Need {
            anchors: numbers.new_anchors(begins.keys()),
            entries: begins.len() as u32,
            ..Need::default()
        };
        numbers.check(&need)?;
        let mut held = Held::default();
        numbers.take(&mut held, &need);
        let scope = numbers.unique();
        let mut ops = Vec::new();
        let mut removal = Removal::default();
        for (&key, begin) in begins {
            let anchor = numbers.anchor(&mut held, key);
            let entry = Entry { states: begin.states.map(|state| self.nodes[state]) };
            ops.push(MapOp::SetAnchor(key, anchor));
            let key = EntryKey { scope, anchor, reserved: 0 };
            ops.push(MapOp::SetEntry(key, entry));
            removal.roots.push(MapOp::RemoveEntry(key));
        }
        Ok(Binding { scope, ops, removal: removal.into_ops(), held, given, ground })
    }
}

/// The folder's key and mount, when a parameter can be bound to it.
fn usable<'t>(folder: &Folder, terrain: &'t Terrain) -> Result<(AnchorKey, &'t Mount), BindError> {
    let path = || folder.asked.clone();
    if !folder.missing.is_empty() {
        return Err(BindError::NotThere(path()));
    }
    if folder.resolved == Path::new("/") {
        return Err(BindError::Everything(path()));
    }
    let (at, key) = folder.anchors.last().ok_or_else(|| BindError::NotAFolder(path()))?;
    if *at != folder.resolved {
        return Err(BindError::NotAFolder(path()));
    }
    let mount = terrain.mount_of(&folder.resolved).ok_or_else(|| BindError::NotSurveyed(path()))?;
    if !is_usable(mount) {
        return Err(BindError::Pseudo(path()));
    }
    Ok((*key, mount))
}

fn is_usable(mount: &Mount) -> bool {
    !is_pseudo(mount.magic) && !mount.devices
}
