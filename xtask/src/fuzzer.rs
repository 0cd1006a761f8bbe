//! The schema fuzzer that the API is tested with: Python packages for the Debian guest, whose Python need not be this
//! machine's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::artifacts;
use crate::image::Added;
use crate::setup::{self, Cache, PIP};
use crate::shell;

/// Every package with its version and hash.
const REQUIREMENTS: &str = "tests/schemathesis.txt";
/// Debian trixie's.
const PYTHON: [&str; 2] = ["--python-version", "3.13"];
/// What such a Python can load there.
const LOADABLE: [(&str, &[&str]); 3] = [
    ("--implementation", &["cp"]),
    ("--abi", &["cp313", "abi3", "none"]),
    ("--platform", &["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]),
];
const IN_GUEST: &str = "/opt/schemathesis";

/// The packages, which pip fetches with the first call.
pub fn packages(cache: &Cache) -> Result<Added> {
    let requirements = artifacts::root().join(REQUIREMENTS);
    let text = fs::read(&requirements)
        .with_context(|| format!("failed to read {}", requirements.display()))?;
    let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("schemathesis-{}", hash.get(..12).unwrap_or(&hash));
    let folder: PathBuf = cache.folder(&name, "tests the API; a minute", |folder| {
        setup::tools(&[&PIP])?;
        let mut install = Command::new(PIP.program);
        install.args(["install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"]);
        install.args(["--only-binary", ":all:"]).args(PYTHON);
        for (option, values) in LOADABLE {
            for value in values {
                install.args([option, value]);
            }
        }
        install.arg("--target").arg(folder).arg("--requirement").arg(&requirements);
        shell::run_quiet(&mut install).map(drop)
    })?;
    Ok(Added::new(&folder, IN_GUEST))
}
