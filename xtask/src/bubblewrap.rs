//! bubblewrap, which the bench compares a launch with: Debian's own, with the libraries that it is linked with.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::apt::Suite;
use crate::image::Added;
use crate::setup::Cache;

const PACKAGES: [&str; 5] = ["bubblewrap", "libc6", "libcap2", "libselinux1", "libpcre2-8-0"];
const PROGRAM: &str = "usr/bin/bwrap";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where every program of this architecture looks for it.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const NAMES: [&str; 4] = ["libc.so.", "libcap.so.", "libselinux.so.", "libpcre2-8.so."];

/// What a guest needs to run it.
pub fn files(cache: &Cache) -> Result<Vec<Added>> {
    let folder = cache.folder("bubblewrap", "what a launch is compared with", |folder| {
        let suite = Suite::open(cache, "trixie")?;
        PACKAGES.iter().try_for_each(|package| suite.unpack(package, folder))
    })?;
    let program = folder.join(PROGRAM);
    ensure!(program.is_file(), "bubblewrap holds no {PROGRAM}");
    let libraries = folder.join(LIBRARIES);
    let loader = libraries.join(Path::new(LOADER).file_name().context("a loader has a name")?);
    let mut files = vec![Added::new(&program, &format!("/{PROGRAM}")), Added::new(&loader, LOADER)];
    for entry in fs::read_dir(&libraries).context("the packages hold no libraries")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if NAMES.iter().any(|known| name.starts_with(known)) {
            files.push(Added::new(&path, &format!("/{LIBRARIES}/{name}")));
        }
    }
    Ok(files)
}
