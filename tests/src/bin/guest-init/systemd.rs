//! A systemd root: the way into it, and the daemon as its unit.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot, execv};

const DISK: &str = "/dev/nvme0n1";
const NEW_ROOT: &str = "/new-root";
/// Copied over the disk's files: what belongs to this boot alone.
const PAYLOAD: &str = "/payload";
const UNIT: &str = "agentid.service";
const DISK_DEADLINE: Duration = Duration::from_secs(120);

/// Mounts the disk, copies the payload over it, becomes its systemd.
pub fn hand_over() -> Result<()> {
    await_disk()?;
    fs::create_dir_all(NEW_ROOT).context("failed to create the new root")?;
    let flags = MsFlags::MS_NOATIME;
    mount(Some(DISK), NEW_ROOT, Some("ext4"), flags, None::<&str>)
        .with_context(|| format!("failed to mount {DISK}"))?;
    copy_folder(Path::new(PAYLOAD), Path::new(NEW_ROOT))?;
    for folder in ["proc", "sys", "dev"] {
        let (from, to) = (format!("/{folder}"), format!("{NEW_ROOT}/{folder}"));
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .with_context(|| format!("failed to move {from}"))?;
    }
    chdir(NEW_ROOT).context("failed to enter the new root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("failed to move the new root")?;
    chroot(".").context("failed to change the root")?;
    let systemd = CString::new("/lib/systemd/systemd")?;
    let never: Infallible = execv(&systemd, &[&systemd]).context("failed to start systemd")?;
    match never {}
}

/// The kernel probes the disk while init already runs.
fn await_disk() -> Result<()> {
    let deadline = Instant::now() + DISK_DEADLINE;
    while !Path::new(DISK).exists() {
        if Instant::now() > deadline {
            bail!("no {DISK} after {} s", DISK_DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Copies files with mode and owner. Folders that exist keep theirs.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {from:?}"))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        copy_one(&source, &target).with_context(|| format!("failed to copy {source:?}"))?;
    }
    Ok(())
}

fn copy_one(source: &Path, target: &Path) -> Result<()> {
    let facts = fs::symlink_metadata(source)?;
    if facts.is_dir() && fs::metadata(target).is_ok_and(|found| found.is_dir()) {
        return copy_folder(source, target);
    }
    if !facts.is_dir() && fs::symlink_metadata(target).is_ok() {
        fs::remove_file(target)?;
    }
    if facts.is_symlink() {
        symlink(fs::read_link(source)?, target)?;
    } else if facts.is_dir() {
        fs::create_dir(target)?;
        copy_folder(source, target)?;
    } else {
        fs::copy(source, target)?;
    }
    lchown(target, Some(facts.uid()), Some(facts.gid()))?;
    if !facts.is_symlink() {
        fs::set_permissions(target, fs::Permissions::from_mode(facts.mode() & 0o7777))?;
    }
    Ok(())
}

/// systemd starts us after the daemon's unit, so it is up now or it failed.
pub fn daemon_is_up() -> Result<()> {
    let state = Command::new("systemctl").args(["is-active", UNIT]).output()?;
    if state.status.success() {
        return Ok(());
    }
    let journal = Command::new("journalctl")
        .args(["--no-pager", "--quiet", "-o", "cat", "-u", UNIT])
        .output()?;
    bail!(
        "{UNIT} is {}; its journal:\n{}",
        String::from_utf8_lossy(&state.stdout).trim(),
        String::from_utf8_lossy(&journal.stdout).trim_end()
    );
}
