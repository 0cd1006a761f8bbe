//! Our folder in bpffs: what keeps maps and links alive when the daemon is gone.
//!
//! ```text
//!   /sys/fs/bpf/agentid/maps/NAME              opened again by the next daemon
//!   /sys/fs/bpf/agentid/links-N-BUILD/NAME     one folder for each set of programs; normally there is one
//!   /sys/fs/bpf/agentid/links-N-BUILD/program-NAME    a program that is not always attached
//! ```

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, DirEntry},
    io,
    ops::Bound,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use agentid_common::{instance::Instance, map::SLOTS};
use aya::programs::links::PinnedLink;
use rustix::fs::statfs;

use super::{object::MAPS, sys};

/// include/uapi/linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
const LINKS: &str = "links-";
const PROGRAM: &str = "program-";

#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("use {} for pins: it is not on a bpffs; mount one with `mount -t bpf bpf /sys/fs/bpf`", .0.display())]
    NotBpffs(PathBuf),
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "take over the maps in {}: {} are missing; end all runs and remove the rest with `agentidd unload`",
        folder.display(), missing.join(", ")
    )]
    Partial { folder: PathBuf, missing: Vec<&'static str> },
    #[error("use {}: it belongs to uid {owner} and not to root", path.display())]
    Foreign { path: PathBuf, owner: u32 },
}

/// Where the pins are.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Makes the folder, for root alone, and mounts a bpffs where there is none yet.
    pub fn open(folder: &Path) -> Result<Self, PinError> {
        let root = folder.parent().unwrap_or(Path::new("/"));
        if !is_bpffs(root) {
            mount(root)?;
        }
        let pins = Self { folder: folder.to_owned() };
        make(&pins.folder)?;
        make(&pins.maps())?;
        Ok(pins)
    }

    /// The folder as it is, or is not.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The root of the bpffs.
    pub fn root(&self) -> &Path {
        self.folder.parent().unwrap_or(Path::new("/"))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn maps(&self) -> PathBuf {
        self.folder.join("maps")
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Whether an earlier daemon left its maps; an incomplete set is an error.
    pub fn are_there(&self) -> Result<bool, PinError> {
        let missing: Vec<_> =
            MAPS.iter().copied().filter(|name| !self.map(name).exists()).collect();
        if missing.len() == MAPS.len() {
            Ok(false)
        } else if missing.is_empty() {
            Ok(true)
        } else {
            Err(PinError::Partial { folder: self.maps(), missing })
        }
    }

    /// Every slot as it is now.
    pub fn instances(&self) -> io::Result<Vec<Instance>> {
        sys::mapped_array(&self.map("INSTANCES"), SLOTS)
    }

    /// Folders of links, the oldest first.
    pub fn links(&self) -> Result<Vec<PathBuf>, PinError> {
        let read = |source| PinError::Io { action: "read", path: self.folder.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if let Some(number) = number(&entry.file_name().to_string_lossy()) {
                found.push((number, entry.path()));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// A new folder for the links of a build's programs, after all others.
    pub fn new_links(&self, build: u64) -> Result<PathBuf, PinError> {
        let last = self
            .links()?
            .last()
            .and_then(|path| number(&path.file_name()?.to_string_lossy()))
            .unwrap_or(0);
        let path = self.folder.join(format!("{LINKS}{}-{build:016x}", last + 1));
        make(&path)?;
        Ok(path)
    }
}

/// What a folder of links holds, read once.
pub struct Links {
    folder: PathBuf,
    names: BTreeSet<String>,
}

impl Links {
    pub fn read(folder: &Path) -> Result<Self, PinError> {
        let read = |source| PinError::Io { action: "read", path: folder.to_owned(), source };
        let name = |entry: io::Result<DirEntry>| Ok(entry?.file_name().to_string_lossy().into());
        let names = fs::read_dir(folder).and_then(|entries| entries.map(name).collect());
        Ok(Self { folder: folder.to_owned(), names: names.map_err(read)? })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The links of a program, which has one, or one for each processor.
    pub fn of<'a>(&'a self, program: &'a str) -> impl Iterator<Item = &'a str> {
        let from = self.names.range::<str, _>((Bound::Included(program), Bound::Unbounded));
        let begin_so = from.map(String::as_str).take_while(move |link| link.starts_with(program));
        begin_so.filter(move |link| {
            link.strip_prefix(program).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

/// Whether a folder of links is one of this build's programs.
pub fn is_of(links: &Path, build: u64) -> bool {
    let name = links.file_name().map(|name| name.to_string_lossy().into_owned());
    name.is_some_and(|name| name.ends_with(&format!("-{build:016x}")))
}

/// Where a program of a set is pinned that is not always attached.
pub fn program(links: &Path, name: &str) -> PathBuf {
    links.join(format!("{PROGRAM}{name}"))
}

/// Removes a pinned link, which has ended when this returns.
///
/// What is only unpinned ends some time later in a worker of the kernel's, while others go on. What is held and let go
/// ends there and then (kernel/bpf/syscall.c: `bpf_link_release`).
pub fn remove_link(path: &Path) -> Result<(), PinError> {
    let link = PinnedLink::from_pin(path).map_err(io::Error::other);
    let failed = |source| PinError::Io { action: "remove", path: path.into(), source };
    link.and_then(PinnedLink::unpin).map(drop).map_err(failed)
}

/// Removes a folder of links; all of them have ended when this returns.
pub fn remove_links(folder: &Path) -> Result<(), PinError> {
    let failed = |path: &Path, source| PinError::Io { action: "remove", path: path.into(), source };
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let entry = entry.map_err(|source| failed(folder, source))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PROGRAM) {
            fs::remove_file(&path).map_err(|source| failed(&path, source))?;
        } else {
            remove_link(&path)?;
        }
    }
    fs::remove_dir(folder).map_err(|source| failed(folder, source))
}

/// Removes a folder of pinned maps.
pub fn remove(folder: &Path) -> Result<(), PinError> {
    let failed =
        |path: &Path, source| PinError::Io { action: "remove", path: path.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        fs::remove_file(&path).map_err(|source| failed(&path, source))?;
    }
    fs::remove_dir(folder).map_err(|source| failed(folder, source))
}

fn number(name: &str) -> Option<u64> {
    let (number, _) = name.strip_prefix(LINKS)?.split_once('-')?;
    number.parse().ok()
}

pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.f_type == BPF_FS_MAGIC)
}

fn mount(root: &Path) -> Result<(), PinError> {
    if !root.is_dir() {
        return Err(PinError::NotBpffs(root.to_owned()));
    }
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("bpf", root, "bpf", flags, None::<&std::ffi::CStr>).map_err(|source| {
        PinError::Io { action: "mount a bpffs at", path: root.to_owned(), source: source.into() }
    })
}

/// A folder for root alone; one that is there must be root's.
fn make(path: &Path) -> Result<(), PinError> {
    let failed = |action, source| PinError::Io { action, path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let owner = fs::metadata(path).map_err(|source| failed("look at", source))?.uid();
            if owner == 0 {
                Ok(())
            } else {
                Err(PinError::Foreign { path: path.to_owned(), owner })
            }
        }
        Err(source) => Err(failed("make", source)),
    }
}
