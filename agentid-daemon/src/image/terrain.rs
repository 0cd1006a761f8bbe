//! What the host's filesystems look like: plain data, surveyed by the kernel module, read by the compiler.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use agentid_common::file::{AnchorKey, is_pseudo};

use crate::event::sight::Sight;

/// Mounts, and the folders that policies and parameters name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terrain {
    /// In the order of mountinfo; those that others cover are left out.
    pub mounts: Vec<Mount>,
    pub folders: Vec<Folder>,
}

/// One visible mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted, canonical.
    pub point: PathBuf,
    /// Which folder of its filesystem is mounted there, from the root of the superblock.
    pub root: PathBuf,
    /// `major:minor` as mountinfo says it; tells filesystems apart within one survey only.
    pub device: String,
    /// Magic number of the filesystem's type.
    pub magic: u64,
    /// Whether the kernel makes the device nodes here, under the type of a filesystem that is in memory.
    pub devices: bool,
    /// Of the folder at `point`; `None` when that is a file or cannot be read.
    pub anchor: Option<AnchorKey>,
}

/// One path that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The path as the policy or the parameter spells it.
    pub asked: PathBuf,
    /// The canonical path of as much of it as exists. Symbolic links are followed when root owns them, and no run could have
    /// made them ([`super::Makers`]).
    pub resolved: PathBuf,
    /// Names that do not exist, below `resolved`.
    pub missing: Vec<OsString>,
    /// The deepest folder on the way, and what identifies it.
    pub anchors: Vec<(PathBuf, AnchorKey)>,
}

/// The paths by which rules were laid onto filesystems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground(Vec<PathBuf>);

impl Ground {
    /// The paths that were looked for, each as it was spelled and as it was found.
    pub(super) fn of<'t>(folders: impl Iterator<Item = &'t Folder>) -> Self {
        let both = folders.flat_map(|folder| {
            let found =
                folder.missing.iter().fold(folder.resolved.clone(), |path, name| path.join(name));
            [folder.asked.clone(), found]
        });
        Self(both.collect())
    }

    /// As they were spelled and found.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// Whether one of the paths means something else when what is mounted at a point changes: it leads through there, or
    /// what is below it does.
    pub fn is_touched(&self, points: &[PathBuf]) -> bool {
        let touches = |point: &PathBuf| {
            self.0.iter().any(|path| path.starts_with(point) || point.starts_with(path))
        };
        points.iter().any(touches)
    }
}

/// One name in a path, in the bytes that the filesystem keeps.
pub(super) type Name = Vec<u8>;

/// The names of an absolute path.
pub(super) fn names(path: &Path) -> Vec<Name> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.as_bytes().to_vec()),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => None,
        })
        .collect()
}

/// A filesystem, as far as rules tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filesystem {
    /// One superblock, by the kernel programs' number.
    Numbered(u64),
    /// All superblocks of a type that is judged as one.
    Type(u64),
}

impl Terrain {
    /// Where its filesystems can be seen.
    pub fn sights(&self) -> Vec<Sight> {
        let sight = |mount: &Mount| match self.filesystem(mount)? {
            Filesystem::Numbered(filesystem) => {
                let (root, point) = (mount.root.clone(), mount.point.clone());
                Some(Sight { filesystem, root, point })
            }
            Filesystem::Type(_) => None,
        };
        self.mounts.iter().filter_map(sight).collect()
    }

    /// Whether the survey found a folder at this path.
    pub fn has_folder(&self, asked: &Path) -> bool {
        self.folder(asked).is_some_and(|folder| {
            let deepest = folder.anchors.last();
            folder.missing.is_empty() && deepest.is_some_and(|(at, _)| *at == folder.resolved)
        })
    }

    /// What the survey found of this path.
    pub(super) fn folder(&self, asked: &Path) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.asked == asked)
    }

    /// The mount on which a canonical path lies.
    pub(super) fn mount_of(&self, path: &Path) -> Option<&Mount> {
        self.mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            // Of equals the last: a later mount covers an earlier one at the same point.
            .max_by_key(|mount| mount.point.components().count())
    }

    /// The filesystem of a mount; `None` when the survey could identify no folder on it.
    pub(super) fn filesystem(&self, mount: &Mount) -> Option<Filesystem> {
        if is_pseudo(mount.magic) {
            return Some(Filesystem::Type(mount.magic));
        }
        let by_mount = self
            .mounts
            .iter()
            .filter(|other| other.device == mount.device)
            .find_map(|other| other.anchor);
        by_mount.or_else(|| self.by_folder(mount)).map(|key| Filesystem::Numbered(key.filesystem))
    }

    /// The key of any surveyed folder on the mount's device.
    fn by_folder(&self, mount: &Mount) -> Option<AnchorKey> {
        self.folders.iter().flat_map(|folder| &folder.anchors).find_map(|(path, key)| {
            self.mount_of(path).filter(|found| found.device == mount.device).map(|_| *key)
        })
    }
}

impl Mount {
    /// Where a canonical path on this mount lies in its filesystem.
    pub(super) fn inside(&self, path: &Path) -> Vec<Name> {
        let mut inside = names(&self.root);
        inside.extend(names(path).into_iter().skip(names(&self.point).len()));
        inside
    }
}
