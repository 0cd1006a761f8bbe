//! `cargo xtask vm`: COMMAND, or a shell, in a guest.

use std::io::{IsTerminal as _, Write as _};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::artifacts;
use crate::guest::{Guest, Root};
use crate::image::Added;
use crate::kernels::Kernel;
use crate::qemu::{End, Machine};
use crate::setup::Cache;
use crate::shell;
use crate::wire::{Kind, Tty};

/// The statuses that are not COMMAND's own.
pub mod status {
    /// The kernel crashed, or the guest switched off, before COMMAND ended.
    pub const CRASHED: u8 = 120;
    /// The daemon did not come up, so COMMAND was not run.
    pub const NOT_READY: u8 = 121;
    /// The guest could not be set up or started.
    pub const SETUP: u8 = 122;
    /// The time of --timeout is over.
    pub const TIMED_OUT: u8 = 124;
}

pub const STATUSES: &str = "Exit status: that of COMMAND (128+N when signal N ended it, 127 when \
it is not found, 126 when it cannot be run), or\n  \
120  the guest crashed or switched off before COMMAND ended\n  \
121  the daemon did not come up, so COMMAND was not run\n  \
122  the guest could not be set up or started\n  \
124  the time of --timeout is over\n\
Standard input, output and error are COMMAND's; all other messages go to standard error, the \
guest's console to target/guest-logs.";

#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub struct Options {
    /// 6.1, 6.12, 7.3, or the path of a kernel image
    #[arg(long, value_name = "6.1|6.12|7.3|PATH", default_value = "6.12")]
    kernel: String,
    /// The guest's root
    #[arg(long, value_enum, default_value = "mini")]
    root: Root,
    /// Run COMMAND as this user; 1000 is `dev`
    #[arg(long, value_name = "UID", default_value_t = 0)]
    user: u32,
    /// Copy a file or folder of this machine into the guest; below /home/dev it belongs to `dev`
    #[arg(long, value_name = "HOST:GUEST")]
    add: Vec<Added>,
    /// Load this module of the kernel's package first; in load order, without dependencies
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// Further kernel arguments; the last of its kind wins, such as lsm=
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Memory, as QEMU writes it
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: String,
    /// Processors
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    smp: u32,
    /// End the guest after this time, boot included [default: 600, for a shell: none]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Do not start agentidd
    #[arg(long)]
    no_daemon: bool,
    /// Take what was built last as it is
    #[arg(long)]
    no_build: bool,
    /// Build and bring nothing but init: for --add files alone; without daemon
    #[arg(long)]
    bare: bool,
    /// Give COMMAND a terminal (a shell without COMMAND always has one)
    #[arg(long)]
    tty: bool,
    /// What to run; without it a login shell on this terminal
    #[arg(last = true)]
    command: Vec<String>,
}

pub fn run(options: Options) -> Result<u8> {
    let cache = Cache::open()?;
    let kernel = Kernel::find(&cache, &options.kernel)?;
    let artifacts = if options.bare {
        artifacts::build_init()?
    } else if options.no_build {
        artifacts::last()?
    } else {
        artifacts::build(&cache)?
    };
    let tty = (options.tty || options.command.is_empty()).then(terminal);
    let seconds = options.timeout.or(if options.command.is_empty() { None } else { Some(600) });
    let mut guest = Guest {
        kernel,
        root: options.root,
        uid: options.user,
        added: options.add,
        append: options.append,
        machine: Machine {
            memory: options.memory,
            processors: options.smp,
            counting: false,
            disk: None,
        },
        timeout: seconds.map(Duration::from_secs),
        daemon: !options.no_daemon && !options.bare,
        modules: options.module,
        command: options.command,
        tty,
        last_words: String::new(),
    };
    guest.run(&cache, &artifacts, true, &mut pass_on).map(status)
}

/// COMMAND's streams become ours.
pub fn pass_on(kind: Kind, bytes: &[u8]) -> Result<()> {
    let written = if kind == Kind::Stderr {
        std::io::stderr().write_all(bytes)
    } else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    };
    written.context("failed to pass the command's output on")
}

/// The exit status for the end of a guest.
pub fn status(end: End) -> u8 {
    match end {
        End::Status(status) => status,
        End::NotReady => status::NOT_READY,
        End::TimedOut => status::TIMED_OUT,
        End::EmulatorFault | End::Crashed => status::CRASHED,
    }
}

fn terminal() -> Tty {
    let size = std::io::stdin().is_terminal().then(|| {
        // `stty size` asks the terminal that is its standard input, which is ours.
        let output =
            Command::new("stty").arg("size").stdin(std::process::Stdio::inherit()).output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        let mut numbers = text.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    let (rows, columns) = size.flatten().filter(|size| *size != (0, 0)).unwrap_or((24, 80));
    shell::say("the shell ends with exit; the guest's files are gone then");
    Tty { term: std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()), rows, columns }
}
