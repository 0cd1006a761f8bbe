//! `cargo xtask dist`: what is installed on a host, as one archive.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::artifacts;
use crate::setup::Cache;
use crate::shell;

const PROGRAMS: [&str; 2] = ["agentid", "agentidd"];

pub fn run() -> Result<u8> {
    let artifacts = artifacts::build(&Cache::open()?)?;
    if artifacts.object.is_none() {
        bail!("without kernel programs there is nothing to distribute");
    }
    let name = format!("agentid-{}-x86_64", env!("CARGO_PKG_VERSION"));
    let folder = artifacts::target().join("dist");
    let tree = folder.join(&name);
    shell::fresh_folder(&tree)?;
    fs::create_dir_all(tree.join("usr/bin"))?;
    for program in PROGRAMS {
        let built = artifacts.binaries.get(program);
        let built = built.with_context(|| format!("{program} was not built"))?;
        fs::copy(built, tree.join("usr/bin").join(program))
            .with_context(|| format!("failed to copy {program}"))?;
    }
    let dist = artifacts::root().join("agentid-daemon/dist");
    for (from, to) in [
        ("agentid.service", "usr/lib/systemd/system/agentid.service"),
        ("agentid.toml", "etc/agentid/agentid.toml"),
        ("policies", "etc/agentid/policies.d"),
    ] {
        if dist.join(from).exists() {
            let to = tree.join(to);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            shell::run_quiet(Command::new("cp").arg("-r").arg(dist.join(from)).arg(&to))?;
        }
    }
    for_readers(&tree)?;
    fs::copy(artifacts::root().join("LICENSE"), tree.join("LICENSE"))?;
    let archive = folder.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    // The same content gives the same archive.
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    tar.args(["--use-compress-program=gzip -n", "-cf"]).arg(&archive);
    shell::run_quiet(tar.arg("-C").arg(&folder).arg(&name))?;
    shell::say(format_args!("dist: {}", archive.display()));
    Ok(0)
}

/// What the command says of itself: pages of the manual, and what shells need to complete its command lines.
fn for_readers(tree: &Path) -> Result<()> {
    let agentid = tree.join("usr/bin/agentid");
    let manual = tree.join("usr/share/man/man1");
    fs::create_dir_all(&manual)?;
    shell::run_quiet(Command::new(&agentid).arg("manual").arg(&manual))?;
    for (name, file) in [
        ("bash", "usr/share/bash-completion/completions/agentid"),
        ("zsh", "usr/share/zsh/site-functions/_agentid"),
        ("fish", "usr/share/fish/vendor_completions.d/agentid.fish"),
    ] {
        let file = tree.join(file);
        fs::create_dir_all(file.parent().context("the file lies nowhere")?)?;
        fs::write(&file, shell::run_quiet(Command::new(&agentid).args(["completions", name]))?)?;
    }
    Ok(())
}
