//! Filesystems that are made for a test, in files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use agentid_tests::harness::Place;
use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Where the programs that make them are, with the libraries they load.
const MAKERS: &str = "/opt/makers";
/// The least that each of them makes do with. The files have holes.
const SIZE: u64 = 128 << 20;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    /// With folders in it that may take names for equal that differ in case.
    Ext4Folding,
    Vfat,
    Btrfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Ext4Folding => "ext4",
            Self::Vfat => "vfat",
            Self::Btrfs => "btrfs",
        }
    }

    fn options(self) -> &'static str {
        match self {
            // It keeps no owners.
            Self::Vfat => "loop,umask=0,codepage=437,iocharset=ascii",
            Self::Ext4 | Self::Ext4Folding | Self::Btrfs => "loop",
        }
    }

    fn maker(self) -> Command {
        let mut command = match self {
            Self::Ext4 | Self::Ext4Folding => program("sbin/mke2fs"),
            Self::Btrfs => program("sbin/mkfs.btrfs"),
            Self::Vfat => Command::new("mkdosfs"),
        };
        match self {
            Self::Ext4 => command.args(["-q", "-t", "ext4"]),
            Self::Ext4Folding => {
                command.args(["-q", "-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"])
            }
            Self::Btrfs => command.arg("--quiet"),
            Self::Vfat => &mut command,
        };
        command
    }
}

/// A program of the makers, by its path.
pub fn program(name: &str) -> Command {
    let libraries = format!("{MAKERS}/lib/x86_64-linux-gnu");
    let mut command = Command::new(format!("{libraries}/ld-linux-x86-64.so.2"));
    command.args(["--library-path", &libraries]).arg(format!("{MAKERS}/{name}"));
    command
}

/// Runs a program that must do what it is for.
pub fn done(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    Ok(())
}

/// A filesystem in a file.
pub struct Image {
    file: PathBuf,
    kind: Kind,
}

impl Image {
    pub fn make(place: &Place, name: &str, kind: Kind) -> Result<Self> {
        let file = place.path().join(format!("{name}.image"));
        File::create(&file)?.set_len(SIZE)?;
        done(kind.maker().arg(&file))?;
        Ok(Self { file, kind })
    }

    /// Mounts it, and lets everyone write in its root as far as file modes go.
    pub fn mount(&self, place: &Place, point: &Path) -> Result<Mounted> {
        fs::create_dir_all(point)?;
        let mut command = Command::new("mount");
        command.args(["-t", self.kind.name(), "-o", self.kind.options()]);
        done(command.arg(&self.file).arg(point))?;
        let mounted = Mounted { point: point.to_owned() };
        if self.kind != Kind::Vfat {
            place.open_to_all(point)?;
        }
        Ok(mounted)
    }
}

/// Something mounted; gone with its guard.
pub struct Mounted {
    point: PathBuf,
}

impl Mounted {
    /// Shows a file or folder at another one as well.
    pub fn bind(what: &Path, at: &Path) -> Result<Self> {
        let none = None::<&str>;
        mount(Some(what), at, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("failed to bind {} to {}", what.display(), at.display()))?;
        Ok(Self { point: at.to_owned() })
    }

    /// What is mounted here already.
    pub fn at(point: &Path) -> Self {
        Self { point: point.to_owned() }
    }

    /// Mounts a subvolume of the btrfs that is mounted here elsewhere.
    pub fn subvolume(&self, name: &str, at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mounts = fs::read_to_string("/proc/mounts")?;
        let here = self.point.display().to_string();
        let mut lines = mounts.lines().map(|line| line.split(' '));
        let device = lines
            .find_map(|mut line| Some((line.next()?, line.next()?)).filter(|it| it.1 == here))
            .with_context(|| format!("nothing is mounted at {here}"))?
            .0;
        let option = format!("subvol={name}");
        mount(Some(device), at, Some("btrfs"), MsFlags::empty(), Some(option.as_str()))
            .with_context(|| format!("failed to mount {name} at {}", at.display()))?;
        Ok(Self { point: at.to_owned() })
    }

    /// Unmounts it for good: nobody uses it any more.
    pub fn unmount(self) -> Result<()> {
        umount2(&self.point, MntFlags::empty())
            .with_context(|| format!("failed to unmount {}", self.point.display()))?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(errno) = umount2(&self.point, MntFlags::MNT_DETACH) {
            eprintln!("{} is not unmounted: {errno}", self.point.display());
        }
    }
}
