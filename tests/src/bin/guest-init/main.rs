//! The guest's init, and in a systemd guest also the service that runs COMMAND.
//!
//! As process 1 (`/init` of the initramfs): mounts what a Linux root needs, then
//! either starts the daemon and runs COMMAND, or hands over to systemd on the
//! disk. As `guest-init run` (the unit agentid-guest.service): checks that
//! systemd brought the daemon up, then runs COMMAND in the same way.

mod command;
mod daemon;
mod mounts;
mod port;
mod session;
mod systemd;
mod terminal;
mod wire;

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result};

use crate::port::Port;
use crate::wire::{BOOT_FILE, Boot, ENDED, MARK, NOT_READY, STARTED};

fn main() {
    let service = std::env::args().nth(1).as_deref() == Some("run");
    let outcome = if service { serve() } else { init() };
    if let Err(error) = outcome {
        console(&format!("{error:#}"));
        // Returning from process 1 panics the kernel, which ends the guest: the
        // host sees a crash and shows the line above.
        if service {
            port::power_off(port::FAILED);
        }
    }
}

fn init() -> Result<()> {
    mounts::early()?;
    let boot = boot()?;
    for module in &boot.modules {
        mounts::load_module(module)?;
    }
    if boot.systemd {
        return systemd::hand_over();
    }
    mounts::rest()?;
    let daemon = if boot.daemon { Some(daemon::start()) } else { None };
    finish(&boot, daemon.transpose())
}

fn serve() -> Result<()> {
    let boot = boot()?;
    let daemon = if boot.daemon { systemd::daemon_is_up() } else { Ok(()) };
    finish(&boot, daemon)
}

/// Runs COMMAND if the daemon is up, tells the host, switches off.
fn finish<T>(boot: &Boot, daemon: Result<T>) -> Result<()> {
    let port = Port::open(boot.tty.is_none())?;
    if let Err(error) = daemon {
        console(&format!("{NOT_READY}: {error:#}"));
        return port.leave_not_ready(boot.tty.is_none());
    }
    console(STARTED);
    let status = match &boot.tty {
        Some(tty) => terminal::run(boot, tty, &port)?,
        None => session::run(boot, &port)?,
    };
    console(&format!("{ENDED} {status}"));
    port.leave(boot.tty.is_none(), status)
}

fn boot() -> Result<Boot> {
    let text = fs::read(BOOT_FILE).with_context(|| format!("failed to read {BOOT_FILE}"))?;
    serde_json::from_slice(&text).with_context(|| format!("failed to parse {BOOT_FILE}"))
}

/// One line on the first serial port, which the host keeps as a file.
fn console(line: &str) {
    let written = fs::OpenOptions::new()
        .write(true)
        .open("/dev/ttyS0")
        .and_then(|mut console| console.write_all(format!("\n{MARK} {line}\n").as_bytes()));
    // Nobody is left to tell when the console itself is gone.
    drop(written);
}
