//! From paths to places: absolute patterns in the space of each filesystem.
//!
//! A path means something only through the mounts of the moment; a file is judged by its names from the root of its
//! filesystem. So each pattern is laid onto the filesystem on which its literal beginning lies, and, as far as it
//! reaches beyond mount points, onto the filesystems below:
//!
//! ```text
//!   /usr/**, with another filesystem mounted at /usr/local:
//!       on the first, usr/**        on the second, **
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentid_common::{
    file::{AnchorKey, SOCKETS},
    glob::fits,
};

use super::{
    compile::CompileError,
    tail::{Step, Store, Tails, steps},
    terrain::{Filesystem, Folder, Mount, Name, Terrain, names},
};
use crate::policy::{Component, Pattern};

/// Magic number of procfs.
const PROC: u64 = 0x9fa0;

/// Absolute patterns by filesystem, and where entries can be put.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) filesystems: BTreeMap<Filesystem, Tails>,
    /// What holds on filesystems that are not known yet: denials that begin with `**`.
    pub(super) unknown: Tails,
    /// Each folder that an entry can hang on, with its names from the root of its filesystem.
    pub(super) anchors: BTreeMap<AnchorKey, (Filesystem, Vec<Name>)>,
    /// Canonical literal beginnings of denials that do not begin with `**`.
    pub(super) denied: Vec<Vec<Name>>,
}

impl Space {
    /// A space with the mounts' roots as anchors.
    pub(super) fn of(terrain: &Terrain) -> Self {
        let mut space = Self::default();
        for mount in &terrain.mounts {
            match (terrain.filesystem(mount), mount.anchor) {
                (Some(filesystem @ Filesystem::Type(magic)), _) => {
                    let key = AnchorKey::filesystem_type(magic);
                    space.anchors.insert(key, (filesystem, Vec::new()));
                }
                (Some(filesystem), Some(key)) => {
                    space.anchors.insert(key, (filesystem, names(&mount.root)));
                }
                (_, None) | (None, _) => {}
            }
        }
        space
    }

    /// Adds a pattern of the store's latest rule.
    pub(super) fn lay(
        &mut self,
        pattern: &Pattern,
        denies: bool,
        terrain: &Terrain,
        store: &mut Store,
    ) -> Result<(), CompileError> {
        let asked = pattern.prefix();
        let folder =
            terrain.folder(&asked).ok_or_else(|| CompileError::NotSurveyed(asked.clone()))?;
        let home = terrain
            .mount_of(&folder.resolved)
            .ok_or_else(|| CompileError::NoMount(folder.resolved.clone()))?;
        names_the_asker(folder, home)?;
        self.anchor(folder, terrain);

        let mut literal = names(&folder.resolved);
        let missing = folder.missing.iter().map(|name| name.as_encoded_bytes().to_vec());
        literal.extend(missing.clone());
        let rest = steps(&pattern.components[pattern.literal().count()..]);

        let inside: Vec<Name> = home.inside(&folder.resolved).into_iter().chain(missing).collect();
        self.put(home, &inside, &rest, terrain, store);
        for mount in &terrain.mounts {
            let point = names(&mount.point);
            if let Some(below) = point.strip_prefix(literal.as_slice())
                && !below.is_empty()
            {
                for left in residuals(&rest, below) {
                    self.put(mount, &names(&mount.root), left, terrain, store);
                }
            }
        }
        if !denies {
            return Ok(());
        }
        match pattern.components.first() {
            Some(Component::Any) => {
                let tail = store.pattern(rest.into_iter());
                store.add(&mut self.unknown, tail);
            }
            // A glob in the root: it may be anywhere.
            Some(Component::Glob(_)) => self.denied.push(Vec::new()),
            Some(Component::Name(_)) | None if literal.is_empty() => {}
            Some(Component::Name(_)) | None => self.denied.push(literal),
        }
        Ok(())
    }

    /// Adds a pattern of abstract names, which lie on no mount.
    pub(super) fn lay_abstract(&mut self, pattern: &Pattern, store: &mut Store) {
        let sockets = Filesystem::Type(SOCKETS);
        let tail = store.pattern(steps(&pattern.components).into_iter());
        store.add(self.filesystems.entry(sockets).or_default(), tail);
        self.anchors.insert(AnchorKey::filesystem_type(SOCKETS), (sockets, Vec::new()));
    }

    fn put(
        &mut self,
        mount: &Mount,
        inside: &[Name],
        rest: &[Step],
        terrain: &Terrain,
        store: &mut Store,
    ) {
        // Without any identified folder there is no entry on that filesystem, and hence no right.
        if let Some(filesystem) = terrain.filesystem(mount) {
            let inside = inside.iter().cloned().map(Step::Name);
            let tail = store.pattern(inside.chain(rest.iter().cloned()));
            store.add(self.filesystems.entry(filesystem).or_default(), tail);
        }
    }

    fn anchor(&mut self, folder: &Folder, terrain: &Terrain) {
        for (path, key) in &folder.anchors {
            if key.is_folder()
                && let Some(mount) = terrain.mount_of(path)
                && let Some(filesystem @ Filesystem::Numbered(_)) = terrain.filesystem(mount)
            {
                self.anchors.insert(*key, (filesystem, mount.inside(path)));
            }
        }
    }
}

/// What is left of a pattern after these names; several rests when `**` can take more names or fewer.
fn residuals<'s>(pattern: &'s [Step], names: &[Name]) -> Vec<&'s [Step]> {
    names.iter().fold(vec![pattern], |rests, name| after(rests, name))
}

/// What is left of these rests of a pattern after one more name.
pub(super) fn after<'s>(rests: Vec<&'s [Step]>, name: &Name) -> Vec<&'s [Step]> {
    let mut next = Vec::new();
    for rest in rests {
        match rest {
            [Step::Any, after @ ..] => {
                next.push(rest);
                next.extend(one_step(after, name));
            }
            _ => next.extend(one_step(rest, name)),
        }
    }
    next.sort_unstable();
    next.dedup();
    next
}

fn one_step<'s>(pattern: &'s [Step], name: &Name) -> Option<&'s [Step]> {
    match pattern {
        [Step::Name(first), rest @ ..] if first == name => Some(rest),
        [Step::Glob(glob), rest @ ..] if fits(glob, name) => Some(rest),
        _ => None,
    }
}

/// Fails when a symbolic link has led to one process's folder, which was that of the daemon.
fn names_the_asker(folder: &Folder, mount: &Mount) -> Result<(), CompileError> {
    let inside = mount.inside(&folder.resolved);
    let process = inside.first().is_some_and(|name| name.iter().all(u8::is_ascii_digit));
    if mount.magic == PROC && process && !folder.asked.starts_with(first_two(&folder.resolved)) {
        return Err(CompileError::NamesTheAsker(folder.asked.clone()));
    }
    Ok(())
}

fn first_two(path: &Path) -> PathBuf {
    path.components().take(3).collect()
}
