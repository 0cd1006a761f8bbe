//! What building the kernel programs needs beside rustc: the sources of `core`
//! and a linker for BPF.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::Suite;
use crate::setup::Cache;
use crate::shell;

const LINKER_VERSION: &str = "0.13.0";
/// How long rustup may try before Debian's package is taken.
const RUSTUP_SECONDS: &str = "120";
const SOURCES_SUITE: &str = "trixie-backports";

/// The running rustc.
struct Rustc {
    release: String,
    llvm_major: String,
    sysroot: PathBuf,
}

impl Rustc {
    fn running() -> Result<Self> {
        let about = shell::run_quiet(Command::new("rustc").arg("-vV"))?;
        let value = |key: &str| {
            let line = about.lines().find_map(|line| line.strip_prefix(key));
            line.map(str::trim).with_context(|| format!("rustc -vV tells no {key}"))
        };
        let llvm = value("LLVM version:")?;
        let sysroot = shell::run_quiet(Command::new("rustc").args(["--print", "sysroot"]))?;
        Ok(Self {
            release: value("release:")?.to_owned(),
            llvm_major: llvm.split('.').next().unwrap_or(llvm).to_owned(),
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }
}

/// Makes both available; the path of the linker.
pub fn ensure(cache: &Cache) -> Result<PathBuf> {
    let rustc = Rustc::running()?;
    rust_src(cache, &rustc)?;
    linker(cache, &rustc)
}

/// `core` is built for BPF from the sources of exactly this rustc.
fn rust_src(cache: &Cache, rustc: &Rustc) -> Result<()> {
    let link = rustc.sysroot.join("lib/rustlib/src/rust");
    let is_there = || link.join("library/core/src/lib.rs").is_file();
    if is_there() {
        return Ok(());
    }
    let release = &rustc.release;
    shell::say(format_args!("setup: rust-src {release} (core is built for BPF from its source)"));
    if link.is_symlink() {
        fs::remove_file(&link).with_context(|| format!("failed to remove {}", link.display()))?;
    }
    let mut rustup = Command::new("timeout");
    rustup.args([RUSTUP_SECONDS, "rustup", "component", "add", "rust-src"]);
    if shell::run_quiet(&mut rustup).is_ok() && is_there() {
        return Ok(());
    }
    let by_hand = "or type: rustup component add rust-src";
    let name = format!("rust-src-{release}");
    let folder = cache
        .folder(&name, "rustup could not; Debian's package", |folder| {
            let suite = Suite::open(cache, SOURCES_SUITE)?;
            let versions = suite.versions("rust-src")?;
            let upstream = |version: &&String| version.split(['+', '-']).next() == Some(release);
            let Some(version) = versions.iter().find(upstream) else {
                bail!("{SOURCES_SUITE} has rust-src {}, not {release}", versions.join(", "));
            };
            suite.unpack(&format!("rust-src={version}"), folder)
        })
        .context(by_hand)?;
    let source = sources_in(&folder, release)?;
    let parent = link.parent().context("the sysroot has no parent")?;
    fs::create_dir_all(parent)
        .and_then(|()| symlink(&source, &link))
        .with_context(|| format!("failed to link; type: ln -s {source:?} {link:?}"))
}

fn sources_in(folder: &Path, release: &str) -> Result<PathBuf> {
    let source = folder.join(format!("usr/src/rustc-{release}"));
    if !source.join("library/core/src/lib.rs").is_file() {
        bail!("Debian's rust-src has no {}", source.display());
    }
    Ok(source)
}

/// Built against the LLVM inside rustc, so that both have the same one.
fn linker(cache: &Cache, rustc: &Rustc) -> Result<PathBuf> {
    let name = format!("bpf-linker-{LINKER_VERSION}-rustc-{}", rustc.release);
    let why = "links the kernel programs; one minute";
    let made = cache.folder(&name, why, |begun| {
        // The finished linker looks for LLVM where it will stay.
        let llvm = cache.path(&format!("llvm-rustc-{}", rustc.release));
        llvm_prefix(rustc, &llvm)?;
        let mut install = Command::new("cargo");
        install.args(["install", "--quiet", "bpf-linker", "--version", LINKER_VERSION]);
        install.args(["--no-default-features", "--features"]);
        install.arg(format!("llvm-{}", rustc.llvm_major)).arg("--root").arg(begun);
        install.env("LLVM_PREFIX", &llvm).env("CARGO_TARGET_DIR", begun.join("build"));
        install.env_remove("RUSTFLAGS").env_remove("RUSTC_BOOTSTRAP");
        install.current_dir(cache.path(""));
        shell::run_quiet(&mut install)?;
        fs::remove_dir_all(begun.join("build")).context("failed to remove the linker's build")
    })?;
    Ok(made.join("bin/bpf-linker"))
}

/// A folder that looks like an LLVM installation and holds rustc's library.
fn llvm_prefix(rustc: &Rustc, llvm: &Path) -> Result<()> {
    let libraries = rustc.sysroot.join("lib");
    let prefix = format!("libLLVM.so.{}", rustc.llvm_major);
    let find = || -> std::io::Result<Option<PathBuf>> {
        for entry in fs::read_dir(&libraries)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    };
    let library =
        find().with_context(|| format!("failed to list {}", libraries.display()))?.with_context(
            || format!("no {prefix}… in {}: is rustc from rustup?", libraries.display()),
        )?;
    shell::fresh_folder(&llvm.join("lib64"))?;
    let name = library.file_name().context("a library without a name")?;
    symlink(&library, llvm.join("lib64").join(name))?;
    symlink(&library, llvm.join("lib64/libLLVM.so"))?;
    Ok(())
}
