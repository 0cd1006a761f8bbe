//! What a guest's root holds: our programs and settings, and for `mini` the rest too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::apt::Suite;
use crate::artifacts::{self, Artifacts};
use crate::cpio::{HOME, Tree};
use crate::setup::Cache;
use crate::shell;

/// Mounted over in every guest, so that files there would not be seen.
const MOUNTED_OVER: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1000:dev:/home/dev:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\ndev:x:1000:\nnogroup:x:65534:\n";

/// `--add HOST:GUEST`.
#[derive(Debug, Clone)]
pub struct Added {
    host: PathBuf,
    guest: String,
}

impl Added {
    pub fn new(host: &Path, guest: &str) -> Self {
        Self { host: host.to_path_buf(), guest: guest.to_owned() }
    }
}

impl FromStr for Added {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, guest) = text.rsplit_once(':').ok_or("expected HOST:GUEST")?;
        if !guest.starts_with('/') || guest.trim_matches('/').is_empty() {
            return Err(format!("{guest:?} is no absolute path in the guest"));
        }
        let below = |folder: &&&str| Path::new(guest).starts_with(folder);
        if let Some(folder) = MOUNTED_OVER.iter().find(below) {
            return Err(format!("{folder} is mounted over in the guest; choose another place"));
        }
        if !Path::new(host).exists() {
            return Err(format!("{host} does not exist"));
        }
        Ok(Self { host: PathBuf::from(host), guest: guest.to_owned() })
    }
}

/// init and the file that tells it what to do.
pub fn start(artifacts: &Artifacts, boot: &[u8]) -> Result<Tree> {
    let mut tree = Tree::default();
    let init = artifacts.binaries.get("guest-init").context("guest-init was not built")?;
    tree.file("init", 0o755, read(init)?);
    tree.file(crate::wire::BOOT_FILE, 0o644, boot);
    Ok(tree)
}

/// Our programs, the daemon's settings and policies, the demo, and the user's files.
pub fn ours(artifacts: &Artifacts, added: &[Added]) -> Result<Tree> {
    let mut tree = Tree::default();
    for (name, path) in &artifacts.binaries {
        tree.file(&format!("usr/bin/{name}"), 0o755, read(path)?);
    }
    let dist = artifacts::root().join("agentid-daemon/dist");
    tree.folder("etc/agentid/policies.d", 0o755);
    for (from, to) in [
        ("agentid.toml", "etc/agentid/agentid.toml"),
        ("policies", "etc/agentid/policies.d"),
        ("agentid.service", "etc/systemd/system/agentid.service"),
        ("demo", "usr/share/agentid/demo"),
    ] {
        if dist.join(from).exists() {
            copy(&mut tree, &dist.join(from), to)?;
        }
    }
    for Added { host, guest } in added {
        copy(&mut tree, host, guest)?;
    }
    Ok(tree)
}

/// A root of its own: busybox and the files that programs look for.
pub fn mini(cache: &Cache) -> Result<Tree> {
    let mut tree = Tree::default();
    for (folder, mode) in [
        ("bin", 0o755),
        ("sbin", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("root", 0o700),
        (HOME, 0o755),
        ("var/lib", 0o755),
        ("var/log", 0o755),
        ("tmp", 0o1777),
    ] {
        tree.folder(folder, mode);
    }
    tree.link("var/run", "/run");
    tree.file("etc/passwd", 0o644, PASSWD);
    tree.file("etc/group", 0o644, GROUP);
    tree.file("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n");
    tree.file("etc/os-release", 0o644, "ID=agentid-mini\nPRETTY_NAME=\"agentid test guest\"\n");
    let busybox = busybox(cache)?;
    tree.file("bin/busybox", 0o755, read(&busybox)?);
    for applet in shell::run_quiet(Command::new(&busybox).arg("--list-full"))?.lines() {
        if applet != "bin/busybox" {
            tree.link(applet, "/bin/busybox");
        }
    }
    Ok(tree)
}

fn busybox(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.folder("busybox", "the mini guest's programs", |folder| {
        Suite::open(cache, "trixie")?.unpack("busybox-static", folder)
    })?;
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| folder.join(place));
    places.into_iter().find(|file| file.is_file()).context("busybox-static holds no busybox")
}

/// A file or folder of the host, with its permissions.
fn copy(tree: &mut Tree, host: &Path, guest: &str) -> Result<()> {
    let facts =
        fs::symlink_metadata(host).with_context(|| format!("failed to read {}", host.display()))?;
    let mode = facts.permissions().mode() & 0o7777;
    if facts.is_symlink() {
        tree.link(guest, &fs::read_link(host)?.to_string_lossy());
    } else if facts.is_file() {
        tree.file(guest, mode, read(host)?);
    } else if facts.is_dir() {
        tree.folder(guest, mode);
        for entry in fs::read_dir(host)? {
            let entry = entry?;
            let name = entry.file_name();
            let below = format!("{}/{}", guest.trim_end_matches('/'), name.to_string_lossy());
            copy(tree, &entry.path(), &below)?;
        }
    } else {
        bail!("{} is neither file, folder nor link", host.display());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}
