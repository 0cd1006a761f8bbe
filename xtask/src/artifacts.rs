//! What we build for guests: the kernel programs, and static binaries that run
//! in any root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::setup::Cache;
use crate::{shell, toolchain};

pub const BPF_TARGET: &str = "bpfel-unknown-none";
pub const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the last build left everything.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Artifacts {
    /// The object with the kernel programs.
    pub object: Option<PathBuf>,
    /// Executables by name.
    pub binaries: BTreeMap<String, PathBuf>,
    /// The test suite for guests.
    pub suite: Option<PathBuf>,
}

/// The workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Everything built or written goes below this folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

fn record() -> PathBuf {
    target().join("guest/artifacts.json")
}

/// What the last [`build`] made, without building.
pub fn last() -> Result<Artifacts> {
    let text = fs::read(record()).context("nothing is built yet: leave out --no-build")?;
    serde_json::from_slice(&text).context("failed to read what was built last")
}

/// Builds the kernel programs, then all executables, then the suite.
pub fn build(cache: &Cache) -> Result<Artifacts> {
    let object = object(cache)?;
    let mut artifacts = Artifacts { object, ..Artifacts::default() };
    let packages = ["-p", "agentid-daemon", "-p", "agentid-tests"];
    let mut command = guest_cargo(&artifacts, &["build"]);
    artifacts.binaries = executables(command.args(packages).arg("--bins"))?;
    if root().join("tests/suite/main.rs").is_file() {
        let mut command = guest_cargo(&artifacts, &["test", "--no-run"]);
        let built = executables(command.args(["-p", "agentid-tests", "--test", "suite"]))?;
        artifacts.suite = built.get("suite").cloned();
    }
    fs::create_dir_all(target().join("guest"))?;
    fs::write(record(), serde_json::to_vec_pretty(&artifacts)?)
        .context("failed to record what was built")?;
    Ok(artifacts)
}

/// Builds only the guests' init.
pub fn build_init() -> Result<Artifacts> {
    let mut command = guest_cargo(&Artifacts::default(), &["build"]);
    let binaries = executables(command.args(["-p", "agentid-tests", "--bin", "guest-init"]))?;
    Ok(Artifacts { binaries, ..Artifacts::default() })
}

/// A cargo command for the kernel programs.
pub fn bpf_cargo(cache: &Cache, verb: &str) -> Result<Command> {
    let linker = toolchain::ensure(cache)?;
    let mut command = Command::new("cargo");
    command.arg(verb).args(["--release", "-p", "agentid-ebpf", "--target", BPF_TARGET]);
    command.args(["-Z", "build-std=core"]).current_dir(root());
    command.env("CARGO_TARGET_DIR", target().join("bpf")).env("RUSTC_BOOTSTRAP", "1");
    // To keep the order of copies is for programs that read packets in place. It has LLVM call a loop over bytes for whatever
    // is filled with zeros and does not lie in registers: 120 instructions for an address.
    let link = "-C link-arg=--btf -C link-arg=--disable-expand-memcpy-in-order";
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env(
        "RUSTFLAGS",
        format!("-C debuginfo=2 {link} -C target-cpu=v3 -C linker={}", linker.display()),
    );
    Ok(command)
}

/// The object file of the kernel programs, if the crate has a binary already.
pub fn object(cache: &Cache) -> Result<Option<PathBuf>> {
    shell::say("build: kernel programs");
    shell::run(bpf_cargo(cache, "build")?.arg("--quiet"))?;
    let file = target().join("bpf").join(BPF_TARGET).join("release/agentid-ebpf");
    if !file.is_file() {
        shell::say("build: agentid-ebpf has no binary, so there is no object");
        return Ok(None);
    }
    Ok(Some(file))
}

fn guest_cargo(artifacts: &Artifacts, verb: &[&str]) -> Command {
    shell::say(format_args!("build: static binaries (cargo {})", verb.join(" ")));
    let mut command = Command::new("cargo");
    command.args(verb).args(["--release", "--quiet", "--target", HOST_TARGET]);
    command.arg("--message-format=json-render-diagnostics").current_dir(root());
    command.env("CARGO_TARGET_DIR", target().join("guest"));
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTC_BOOTSTRAP");
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    if let Some(object) = &artifacts.object {
        command.env("AGENTID_EBPF_OBJECT", object);
    }
    command
}

/// Runs a cargo command and lists the executables it made.
fn executables(command: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("failed to start cargo")?;
    if !output.status.success() {
        bail!("{} ended with {}", shell::line(command), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let parse = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        let name = message.get("target")?.get("name")?.as_str()?.to_owned();
        Some((name, path))
    };
    Ok(messages.lines().filter_map(parse).collect())
}
