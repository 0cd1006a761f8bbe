//! The programs that make filesystems, for the mini guest: those of Debian, with the libraries they load.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::apt::Suite;
use crate::image::Added;
use crate::setup::Cache;

const SUITE: &str = "trixie";
/// Renamed when the list below changes, so that the folder is made anew.
const FOLDER: &str = "makers-trixie-1";
const PACKAGES: [&str; 13] = [
    "btrfs-progs",
    "e2fsprogs",
    "libblkid1",
    "libc6",
    "libcap2",
    "libcom-err2",
    "libext2fs2t64",
    "libss2",
    "libudev1",
    "libuuid1",
    "liblzo2-2",
    "libzstd1",
    "zlib1g",
];
/// What they neither run nor load.
const LEFT_OUT: [&str; 3] = ["usr/share", "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/udev"];
const IN_GUEST: &str = "/opt/makers";

/// The programs and libraries, fetched with the first call.
pub fn programs(cache: &Cache) -> Result<Added> {
    let folder = cache.folder(FOLDER, "makes the filesystems of a boot", |folder| {
        let suite = Suite::open(cache, SUITE)?;
        for package in PACKAGES {
            suite.unpack(package, folder)?;
        }
        LEFT_OUT.iter().try_for_each(|name| remove(&folder.join(name)))
    })?;
    Ok(Added::new(&folder.join("usr"), IN_GUEST))
}

fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("failed to remove {}", folder.display()))
}
