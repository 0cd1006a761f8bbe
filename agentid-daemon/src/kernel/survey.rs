//! What the filesystems look like, in the kernel programs' own terms.
//!
//! A folder is identified by the programs: the daemon opens it, the hook notes the inode, and the note is read back
//! by descriptor. `stat` is not asked: its device numbers are used again after an unmount, and are others than the
//! kernel's on some filesystems.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use agentid_common::{
    device,
    file::{ANCHOR_FOLDER, AnchorKey, BTRFS, FOLDS, Identity},
    name::NameKey,
};
use aya::maps::MapError;
use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statx};

use super::{
    maps::Maps,
    mounts::{self, MountLine},
    tree,
};
use crate::image::{Folder, HostPlace, Level, Mount, NamedPlace, Terrain};

/// Most symbolic links in one path, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// Types that ask somebody else before they answer, who may never do so. Nothing on them is granted.
const REMOTE: [&str; 9] =
    ["autofs", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "virtiofs"];

#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    #[error("read the mounts of this process")]
    Mounts(#[source] io::Error),
    #[error("look at {}", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("identify {}: the kernel programs did not note it", .0.display())]
    Unidentified(PathBuf),
    #[error("identify {}", path.display())]
    Map { path: PathBuf, source: MapError },
    #[error("use {}: a path of a rule is absolute and has no `..`", .0.display())]
    NotAbsolute(PathBuf),
}

/// The mounts that are visible to the daemon, and the given paths. Of the symbolic links of root's on the way these are
/// followed; what others it met comes back as well, and is to it a name that does not exist.
pub fn survey(
    maps: &Maps,
    paths: &[PathBuf],
    followed: &BTreeSet<PathBuf>,
) -> Result<(Terrain, BTreeSet<PathBuf>), SurveyError> {
    let Seen { lines, foreign } = see()?;
    let mounts = lines.into_iter().filter_map(|line| mount(maps, line).transpose());
    let mounts = mounts.collect::<Result<_, _>>()?;
    let mut met = BTreeSet::new();
    // A link that is not root's is never followed: whoever owns it could aim a rule at any folder.
    let mut is_followed = |at: &Path, link: &Metadata| {
        if link.uid() != 0 {
            return false;
        }
        let is_followed = followed.contains(at);
        if !is_followed {
            met.insert(at.to_owned());
        }
        is_followed
    };
    let folders = paths.iter().map(|path| folder(maps, path, &foreign, &mut is_followed));
    let folders = folders.collect::<Result<_, _>>()?;
    Ok((Terrain { mounts, folders }, met))
}

/// What a path can lead to.
struct Seen {
    /// Mounts over which, and over whose points, no others have been mounted.
    lines: Vec<MountLine>,
    /// Points from which on somebody else may have to be asked. Nothing is looked at from there on.
    foreign: BTreeSet<PathBuf>,
}

fn see() -> Result<Seen, SurveyError> {
    let mut lines = mounts::read().map_err(SurveyError::Mounts)?;
    let points: BTreeSet<&PathBuf> = lines.iter().map(|line| &line.point).collect();
    let (mut seen, mut foreign) = (BTreeSet::new(), BTreeSet::new());
    // In this order a point comes after those above it.
    for point in points {
        if is_foreign(point, &foreign) {
            continue;
        }
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let found = statx(CWD, point, flags, StatxFlags::MNT_ID).map(|found| found.stx_mnt_id);
        match found.ok().and_then(|id| lines.iter().find(|line| line.id == id)) {
            Some(line) if is_local(line) => drop(seen.insert(line.id)),
            Some(_) | None => drop(foreign.insert(point.clone())),
        }
    }
    lines.retain(|line| seen.contains(&line.id));
    Ok(Seen { lines, foreign })
}

fn is_local(line: &MountLine) -> bool {
    !REMOTE.contains(&line.kind.as_str()) && !line.kind.starts_with("fuse")
}

/// Whether the path is such a point or lies below one.
fn is_foreign(path: &Path, foreign: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|above| foreign.contains(above))
}

fn mount(maps: &Maps, line: MountLine) -> Result<Option<Mount>, SurveyError> {
    let Ok(found) = statfs(&line.point) else {
        return Ok(None);
    };
    let anchor = identify(maps, &line.point)?;
    let devices = line.kind == "devtmpfs";
    Ok(Some(Mount {
        devices,
        point: line.point,
        root: line.root,
        device: line.device,
        // The type is signed in the C library and not in the kernel.
        magic: found.f_type as u64 & 0xffff_ffff,
        anchor,
    }))
}

fn folder(
    maps: &Maps,
    asked: &Path,
    foreign: &BTreeSet<PathBuf>,
    is_followed: impl FnMut(&Path, &Metadata) -> bool,
) -> Result<Folder, SurveyError> {
    let (resolved, missing) = resolve(asked, foreign, is_followed)?;
    let mut deepest = resolved.as_path();
    let anchor = loop {
        match (identify(maps, deepest)?, deepest.parent()) {
            (Some(anchor), _) => break Some((deepest.to_owned(), anchor)),
            (None, Some(parent)) => deepest = parent,
            (None, None) => break None,
        }
    };
    let anchors = anchor.into_iter().collect();
    Ok(Folder { asked: asked.to_owned(), resolved, missing, anchors })
}

/// How the kernel programs know a folder; `None` when it is not a folder or cannot be opened.
fn identify(maps: &Maps, path: &Path) -> Result<Option<AnchorKey>, SurveyError> {
    Ok(look(maps, path)?.map(|(key, _)| key))
}

/// The same, and whether names on the filesystem may be equal that are not the same bytes.
fn look(maps: &Maps, path: &Path) -> Result<Option<(AnchorKey, bool)>, SurveyError> {
    let Ok(folder) = open_folder(path) else {
        return Ok(None);
    };
    match maps.identities.get(&folder, 0) {
        Ok(identity) => key(&identity, &folder)
            .map(|key| Some((key, identity.flags & FOLDS != 0)))
            .map_err(|source| SurveyError::Look { path: path.to_owned(), source }),
        Err(MapError::KeyNotFound) => Err(SurveyError::Unidentified(path.to_owned())),
        Err(source) => Err(SurveyError::Map { path: path.to_owned(), source }),
    }
}

fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn key(identity: &Identity, folder: &File) -> io::Result<AnchorKey> {
    let Identity { filesystem, inode, generation, magic, .. } = *identity;
    let kind = if magic == BTRFS { tree::of(folder)? } else { ANCHOR_FOLDER };
    Ok(AnchorKey { filesystem, inode, generation, kind })
}

/// The canonical path of as much as exists and can be looked at, and the names that do not.
fn resolve(
    asked: &Path,
    foreign: &BTreeSet<PathBuf>,
    mut is_followed: impl FnMut(&Path, &Metadata) -> bool,
) -> Result<(PathBuf, Vec<OsString>), SurveyError> {
    let bad = || SurveyError::NotAbsolute(asked.to_owned());
    let mut rest: Vec<OsString> = names(asked).ok_or_else(bad)?.into_iter().rev().collect();
    let mut resolved = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let next = resolved.join(&name);
        let failed = |source| SurveyError::Look { path: next.clone(), source };
        if foreign.contains(&next) {
            return Ok((resolved, missing(name, rest)));
        }
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() && links < MAX_LINKS && is_followed(&next, &found) => {
                links += 1;
                let target = fs::read_link(&next).map_err(failed)?;
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                follow(&target, &mut resolved, &mut rest);
            }
            Ok(found) if found.is_symlink() => return Ok((resolved, missing(name, rest))),
            Ok(_) => resolved = next,
            Err(error) if is_absent(&error) => return Ok((resolved, missing(name, rest))),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((resolved, Vec::new()))
}

/// Puts a link's target in front of the names that remain.
fn follow(target: &Path, resolved: &mut PathBuf, rest: &mut Vec<OsString>) {
    for component in target.components().rev() {
        match component {
            Component::Normal(name) => rest.push(name.to_owned()),
            // A target that climbs does so before it descends, in every link that a distribution ships.
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

fn missing(name: OsString, rest: Vec<OsString>) -> Vec<OsString> {
    std::iter::once(name).chain(rest.into_iter().rev()).collect()
}

fn names(path: &Path) -> Option<Vec<OsString>> {
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return None;
    }
    components
        .map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::RootDir
            | Component::CurDir
            | Component::ParentDir
            | Component::Prefix(_) => None,
        })
        .collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    #[error(transparent)]
    Survey(#[from] SurveyError),
    #[error("find the mount of {}", .0.display())]
    NoMount(PathBuf),
    #[error("look at {}: the path must be absolute and have no `..`", .0.display())]
    Relative(PathBuf),
}

/// A path's place, as the kernel programs would walk it. What does not exist yet is judged as if it did.
pub fn locate(maps: &Maps, keys: &NameKey, path: &Path) -> Result<HostPlace, LocateError> {
    if names(path).is_none() {
        return Err(LocateError::Relative(path.to_owned()));
    }
    let seen = see()?;
    let found = resolve(path, &seen.foreign, |_, _| true)?;
    place(maps, keys, path, &seen, &found)
}

/// The place of a name, which may be that of a symbolic link, and what has it.
pub fn locate_name(maps: &Maps, keys: &NameKey, path: &Path) -> Result<NamedPlace, LocateError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        // The root, which is a folder, or a path that ends in `..`.
        let place = locate(maps, keys, path)?;
        return Ok(NamedPlace { place, exists: true, folder: true });
    };
    let seen = see()?;
    let (folder, below) = resolve(folder, &seen.foreign, |_, _| true)?;
    let whole = folder.join(name);
    let found = if below.is_empty() {
        resolve(&whole, &seen.foreign, |path, _| path != whole)?
    } else {
        (folder, below.into_iter().chain([name.to_owned()]).collect())
    };
    let is_foreign = is_foreign(&whole, &seen.foreign);
    let has_it = if is_foreign { None } else { fs::symlink_metadata(&whole).ok() };
    let place = place(maps, keys, path, &seen, &found)?;
    let folder = has_it.as_ref().is_some_and(Metadata::is_dir);
    Ok(NamedPlace { place, exists: has_it.is_some(), folder })
}

fn place(
    maps: &Maps,
    keys: &NameKey,
    path: &Path,
    Seen { lines, .. }: &Seen,
    (existing, below): &(PathBuf, Vec<OsString>),
) -> Result<HostPlace, LocateError> {
    let line = lines
        .iter()
        .filter(|line| existing.starts_with(&line.point))
        .max_by_key(|line| line.point.components().count())
        .ok_or_else(|| LocateError::NoMount(path.to_owned()))?;
    let magic = statfs(&line.point)
        .map_err(|error| SurveyError::Look { path: line.point.clone(), source: error.into() })?;

    let inside = existing.strip_prefix(&line.point).unwrap_or(Path::new(""));
    let inside = line.root.join(inside);
    let (mut levels, mut folds) = (Vec::new(), false);
    for name in below.iter().rev() {
        levels.push(Level::new(AnchorKey::default(), bytes(name), keys));
    }
    for place in inside.ancestors() {
        let found = match reach(lines, &line.device, place) {
            Some(path) => look(maps, &path)?,
            None => None,
        };
        let (anchor, folding) = found.unzip();
        folds |= folding.unwrap_or_default();
        let name = place.file_name().map(bytes).unwrap_or_default();
        levels.push(Level::new(anchor.unwrap_or_default(), name, keys));
    }
    let foreign_device = below.is_empty() && is_foreign_device(existing, &line.kind);
    let magic = magic.f_type as u64 & 0xffff_ffff;
    Ok(HostPlace { levels, magic, folds, foreign_device })
}

/// As the kernel programs see it (`agentid-ebpf/src/object/place.rs`). What is gone meanwhile is judged as a file.
fn is_foreign_device(path: &Path, filesystem: &str) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let (kind, number) = (found.file_type(), found.rdev());
    let number = libc::major(number) << device::MINORBITS | libc::minor(number);
    let is_harmless = kind.is_char_device() && device::is_harmless(number);
    (kind.is_char_device() || kind.is_block_device())
        && !is_harmless
        && filesystem.as_bytes() != device::OWN_FILESYSTEM
}

/// A path to a place inside a filesystem, through any mount that shows it.
fn reach(lines: &[MountLine], device: &str, place: &Path) -> Option<PathBuf> {
    lines.iter().filter(|line| line.device == device).find_map(|line| {
        let rest = place.strip_prefix(&line.root).ok()?;
        Some(if rest.as_os_str().is_empty() { line.point.clone() } else { line.point.join(rest) })
    })
}

fn bytes(name: &OsStr) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    name.as_bytes()
}
