//! Scenes that are not as usual, and daemons that do not come up in them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Daemon, Scene, daemon::AGENTIDD, scene::PINS, shared, wait};

/// How long a daemon may take to refuse: some refuse when all programs are loaded.
const REFUSES: Duration = Duration::from_secs(300);

impl Scene {
    /// Gives one setting another value, or its default with `None`.
    pub fn set(&self, name: &str, value: Option<&str>) -> Result<()> {
        let text = fs::read_to_string(self.settings())?;
        let others = text.lines().filter(|line| !line.starts_with(&format!("{name} =")));
        let mut lines: Vec<String> = others.map(str::to_owned).collect();
        lines.extend(value.map(|value| format!("{name} = \"{value}\"")));
        fs::write(self.settings(), lines.join("\n") + "\n").context("failed to write settings")
    }

    /// Has the scene's daemon pin where no other one does, and ends the shared one: the [`pins`] that there are before.
    pub fn pin_apart(&self) -> Result<BTreeSet<OsString>> {
        shared::end();
        let name = self.path().file_name().context("the scene has no name")?;
        let apart = Path::new(PINS).with_file_name(name);
        self.set("bpffs", Some(&apart.display().to_string()))?;
        pins()
    }

    /// Starts a daemon that is expected to refuse: what it says on standard error when it has ended with status 1.
    pub fn refused_start(&self) -> Result<String> {
        let mut command = Command::new(AGENTIDD);
        refused(command.arg("--config").arg(self.settings()))
    }
}

impl Daemon {
    /// `agentidd unload` that is expected to refuse: what it says.
    pub fn refused_unload(&self) -> Result<String> {
        let mut command = Command::new(AGENTIDD);
        refused(command.arg("--config").arg(self.scene().settings()).arg("unload"))
    }
}

/// What is in the bpffs: the pins of each daemon are in a folder there.
pub fn pins() -> Result<BTreeSet<OsString>> {
    let bpffs = Path::new(PINS).parent().context("the pins are nowhere")?;
    let names = fs::read_dir(bpffs)?.map(|entry| Ok(entry?.file_name()));
    Ok(names.collect::<io::Result<_>>()?)
}

/// Runs a daemon's command that is expected to refuse: what it says on standard error when it has ended with status 1.
pub fn refused(command: &mut Command) -> Result<String> {
    let mut process =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let ended = wait::until("the daemon has refused", REFUSES, || Ok(process.try_wait()?));
    if ended.is_err() {
        process.kill()?;
    }
    let Output { status, stderr, .. } = process.wait_with_output()?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    match status.code() {
        Some(1) => Ok(said),
        _ => bail!("the daemon ended with {status} and said {said}"),
    }
}

/// The daemon's one child.
pub fn canary_of(daemon: u32) -> Result<u32> {
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"))?;
    children.trim().parse().with_context(|| format!("the daemon's children are {children:?}"))
}

/// A bpffs below a mount of its own, so that unmounting that one takes the bpffs along. Gone with its guard.
///
/// The programs that earlier daemons have left stay attached beside those of the scene's daemon. They know nothing of its
/// runs, whose tags are in maps of its own.
pub struct Frail {
    folder: PathBuf,
}

impl Frail {
    /// Mounts both below a scene, and has the scene's daemon keep its pins there.
    pub fn below(scene: &Scene) -> Result<Self> {
        shared::end();
        let frail = Self { folder: scene.path().join("frail") };
        fs::create_dir(&frail.folder)?;
        mount_at("tmpfs", &frail.folder)?;
        fs::create_dir(frail.bpffs())?;
        mount_at("bpf", &frail.bpffs())?;
        scene.set("bpffs", Some(&frail.bpffs().join("agentid").display().to_string()))?;
        Ok(frail)
    }

    /// The mount that carries the bpffs.
    pub fn carrier(&self) -> &Path {
        &self.folder
    }

    pub fn bpffs(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// Unmounts the carrier: everything that was pinned ends.
    pub fn collapse(&self) -> Result<()> {
        umount2(&self.folder, MntFlags::MNT_DETACH).context("failed to unmount the carrier")
    }

    /// A place for pins again, with nothing in it.
    pub fn repair(&self) -> Result<()> {
        fs::create_dir_all(self.bpffs())?;
        mount_at("bpf", &self.bpffs())
    }
}

impl Drop for Frail {
    fn drop(&mut self) {
        // A test may have unmounted one or both.
        for path in [self.bpffs(), self.folder.clone()] {
            if let Err(errno) = umount2(&path, MntFlags::MNT_DETACH) {
                eprintln!("{} is not unmounted: {errno}", path.display());
            }
        }
    }
}

/// Mounts a new filesystem without options.
pub fn mount_at(kind: &str, folder: &Path) -> Result<()> {
    mount(Some(kind), folder, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("failed to mount {kind} at {}", folder.display()))
}
