//! The second serial port, and the ways out of the guest.

use std::arch::asm;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};

use crate::wire::{Decoder, Kind, encode};

pub const PATH: &str = "/dev/ttyS1";
/// QEMU's isa-debug-exit device ends the emulator with `(code << 1) | 1`.
const DEBUG_EXIT: u16 = 0xf4;
/// COMMAND ended with 0.
const SUCCESS: u8 = 0;
/// COMMAND ended otherwise, or was not run.
pub const FAILED: u8 = 1;
/// How long the host may take to confirm that it has everything.
const BYE: Duration = Duration::from_secs(20);

pub struct Port {
    file: File,
    decoder: RefCell<Decoder>,
}

impl Port {
    /// `framed`: bytes pass as they are, for the frames; else the port stays a terminal.
    pub fn open(framed: bool) -> Result<Self> {
        let file = open().with_context(|| format!("failed to open {PATH}"))?;
        if framed {
            let mut settings = tcgetattr(&file).context("failed to read the port's settings")?;
            cfmakeraw(&mut settings);
            tcsetattr(&file, SetArg::TCSANOW, &settings).context("failed to set the port raw")?;
        }
        Ok(Self { file, decoder: RefCell::default() })
    }

    pub fn send(&self, kind: Kind, payload: &[u8]) -> Result<()> {
        (&self.file).write_all(&encode(kind, payload)).context("failed to write to the host")
    }

    /// Waits for at least one byte; then [`Port::frame`] hands out what is whole.
    pub fn receive(&self) -> Result<()> {
        let mut buffer = [0; 4096];
        let length = (&self.file).read(&mut buffer).context("failed to read from the host")?;
        self.decoder.borrow_mut().push(buffer.get(..length).unwrap_or_default());
        Ok(())
    }

    pub fn frame(&self) -> Option<Result<(Kind, Vec<u8>), u8>> {
        self.decoder.borrow_mut().frame()
    }

    pub fn leave(&self, framed: bool, status: u8) -> Result<()> {
        if framed {
            self.send(Kind::Exit, &[status])?;
            self.await_bye()?;
        } else {
            tcdrain(&self.file).context("failed to drain the port")?;
        }
        power_off(if status == 0 { SUCCESS } else { FAILED });
        Ok(())
    }

    pub fn leave_not_ready(&self, framed: bool) -> Result<()> {
        if framed {
            self.send(Kind::NotReady, &[])?;
            self.await_bye()?;
        }
        power_off(FAILED);
        Ok(())
    }

    /// The emulator drops what it has not passed on, so the host says when it has all.
    fn await_bye(&self) -> Result<()> {
        let deadline = Instant::now() + BYE;
        loop {
            while let Some(frame) = self.frame() {
                if matches!(frame, Ok((Kind::Bye, _))) {
                    return Ok(());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if poll(&mut ready, timeout).context("failed to wait for the host")? == 0 {
                return Ok(());
            }
            self.receive()?;
        }
    }
}

/// The port's terminal, which must become COMMAND's and not ours.
pub fn open() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(PATH)
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Ends the emulator at once. Returns only where there is no such device.
pub fn power_off(code: u8) {
    // SAFETY: iopl takes an integer; it lets this thread use the next instruction.
    if unsafe { libc::iopl(3) } != 0 {
        return;
    }
    // SAFETY: one byte to a port that only the emulator's exit device answers to.
    unsafe { asm!("out dx, al", in("dx") DEBUG_EXIT, in("al") code, options(nomem, nostack)) };
}
