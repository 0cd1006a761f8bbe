//! A guest from its description to its end: builds the first root, boots, retries
//! once when the emulator itself failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::artifacts::{self, Artifacts};
use crate::cpio::Tree;
use crate::emulator;
use crate::image::{self, Added};
use crate::kernels::Kernel;
use crate::qemu::{self, End, Machine, Streams};
use crate::setup::Cache;
use crate::wire::{Boot, Kind, Tty};
use crate::{debian, shell};

const LOGS_KEPT: usize = 100;
static NUMBER: AtomicU32 = AtomicU32::new(1);

/// What the root file system of a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Root {
    /// A static initramfs with busybox: up in seconds
    Mini,
    /// Debian with systemd, bash, python3, git and curl; agentid runs as its unit
    Debian,
}

pub struct Guest {
    pub kernel: Kernel,
    pub root: Root,
    pub uid: u32,
    pub added: Vec<Added>,
    /// Further kernel arguments; the last of its kind wins.
    pub append: String,
    pub machine: Machine,
    pub timeout: Option<Duration>,
    pub daemon: bool,
    /// Kernel modules in load order.
    pub modules: Vec<String>,
    pub command: Vec<String>,
    pub tty: Option<Tty>,
    /// The end of the console's log, once it has ended otherwise than by COMMAND's end.
    pub last_words: String,
}

impl Guest {
    /// A mini guest without daemon that runs `command` as root.
    pub fn bare(kernel: Kernel, command: Vec<String>) -> Self {
        Self {
            kernel,
            root: Root::Mini,
            uid: 0,
            added: Vec::new(),
            append: String::new(),
            machine: Machine {
                memory: "2G".to_owned(),
                processors: 2,
                counting: false,
                disk: None,
            },
            timeout: Some(Duration::from_secs(10_800)),
            daemon: false,
            modules: Vec::new(),
            command,
            tty: None,
            last_words: String::new(),
        }
    }

    /// What tells it apart from every guest that may do something else: a hash of all that goes into it.
    pub fn fingerprint(&mut self, cache: &Cache, artifacts: &Artifacts) -> Result<String> {
        let archive = self.first_root(cache, artifacts)?.archive();
        let kernel = fs::read(&self.kernel.image).context("failed to read the kernel's image")?;
        let emulator = emulator::ready(cache)?;
        let command = self.machine.command(
            emulator,
            &self.kernel,
            Path::new(""),
            &self.arguments(),
            Path::new(""),
        );
        let emulator = shell::run_quiet(Command::new(emulator).arg("--version"))?;
        let mut hash = Sha256::new();
        for part in [&archive, &kernel, shell::line(&command).as_bytes(), emulator.as_bytes()] {
            // Lengths keep the parts apart.
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Boots it and passes COMMAND's output to `sink` (unless it has a terminal).
    /// `input`: our standard input becomes COMMAND's.
    pub fn run(
        &mut self,
        cache: &Cache,
        artifacts: &Artifacts,
        input: bool,
        sink: &mut dyn FnMut(Kind, &[u8]) -> Result<()>,
    ) -> Result<End> {
        let emulator = emulator::ready(cache)?;
        if self.daemon && !artifacts.binaries.contains_key("agentidd") {
            bail!("agentidd is not built, so no daemon can run: give --no-daemon");
        }
        let archive = self.first_root(cache, artifacts)?.archive();
        let logs = artifacts::target().join("guest-logs");
        fs::create_dir_all(&logs).context("failed to create the folder for guest logs")?;
        forget_old(&logs)?;
        let kernel = self.kernel.name.replace('/', "_");
        // Several guests of one kernel may run at once, of this process and of others.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{kernel}-{}-{number}", std::process::id());
        let initrd = Temporary(logs.join(format!("{name}.initrd")));
        fs::write(&initrd.0, archive).context("failed to write the initramfs")?;
        let log = logs.join(format!("{name}.log"));
        let append = self.arguments();
        for attempt in 1..=2 {
            let command = self.machine.command(emulator, &self.kernel, &initrd.0, &append, &log);
            let streams = match &self.tty {
                Some(_) => Streams::Terminal,
                None => Streams::Pieces { input, sink },
            };
            let end = qemu::run(command, streams, self.timeout, &log)?;
            let what = match end {
                End::Status(_) => return Ok(end),
                End::NotReady => "the daemon is not ready",
                End::TimedOut => "the guest timed out",
                End::Crashed => "the guest crashed",
                End::EmulatorFault if attempt == 1 => {
                    shell::say("the emulator failed, not the guest; once more");
                    continue;
                }
                End::EmulatorFault => "the emulator failed again",
            };
            self.last_words = format!("{what}; {}", Log(&log));
            shell::say(&self.last_words);
            return Ok(end);
        }
        Ok(End::EmulatorFault)
    }

    fn arguments(&self) -> String {
        let counting = if self.machine.counting { " nokaslr norandmaps" } else { "" };
        format!(
            "console=ttyS0 lsm=landlock,lockdown,yama,bpf panic=-1 oops=panic quiet{counting} {}",
            self.append
        )
    }

    fn first_root(&mut self, cache: &Cache, artifacts: &Artifacts) -> Result<Tree> {
        let boot = Boot {
            systemd: self.root == Root::Debian,
            daemon: self.daemon,
            uid: self.uid,
            command: self.command.clone(),
            tty: self.tty.clone(),
            modules: self.modules.iter().map(|name| format!("/modules/{name}.ko")).collect(),
        };
        let boot = serde_json::to_vec(&boot)?;
        let mut tree = image::start(artifacts, &boot)?;
        for name in &self.modules {
            tree.file(&format!("modules/{name}.ko"), 0o644, self.kernel.module(name)?);
        }
        let ours = image::ours(artifacts, &self.added)?;
        match self.root {
            Root::Mini => {
                tree.merge(image::mini(cache)?);
                tree.merge(ours);
            }
            Root::Debian => {
                self.machine.disk = Some(debian::disk(cache)?);
                let mut payload = debian::payload(&boot, self.daemon);
                payload.merge(ours);
                tree.merge(payload.below("payload"));
            }
        }
        Ok(tree)
    }
}

/// Leaves the newest [`LOGS_KEPT`] files.
fn forget_old(logs: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(logs).context("failed to list the guest logs")? {
        let path = entry?.path();
        // Another xtask may have removed it meanwhile.
        if let Ok(changed) = fs::metadata(&path).and_then(|facts| facts.modified()) {
            files.push((changed, path));
        }
    }
    files.sort();
    let surplus = files.len().saturating_sub(LOGS_KEPT);
    for (_, path) in files.iter().take(surplus) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("failed to remove an old guest log");
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// A file that goes when we do.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            shell::say(format_args!("failed to remove {}: {error}", self.0.display()));
        }
    }
}

/// The end of a console log, and where the whole is.
struct Log<'path>(&'path Path);

impl std::fmt::Display for Log<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = fs::read(self.0).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        let shown = text.lines().filter(|line| !line.trim().is_empty());
        let shown = shown.collect::<Vec<_>>().join("\n");
        write!(formatter, "the end of {}:\n{}", self.0.display(), shell::tail(&shown, 40))
    }
}
