//! What `cargo xtask` and the guest's init say to each other. Both programs
//! compile this file, so the two ends cannot differ.
//!
//! The guest's second serial port carries frames: kind (1 byte), length (2
//! bytes, little endian), payload. A serial port has neither an end of file nor
//! two output streams nor flow control; the frames supply all three.

use serde::{Deserialize, Serialize};

/// Where the guest finds its [`Boot`].
pub const BOOT_FILE: &str = "/agentid-guest.json";
/// Every line of init on the console begins with this.
pub const MARK: &str = "agentid-guest:";
/// On the console: COMMAND runs from here on.
pub const STARTED: &str = "command started";
/// On the console, followed by COMMAND's status.
pub const ENDED: &str = "command ended with status";
/// On the console: the daemon did not come up, so COMMAND was not run.
pub const NOT_READY: &str = "daemon not ready";
/// The longest payload. Input is sent one chunk at a time: each waits for
/// a [`Kind::Taken`], so the guest's serial buffer (4096 bytes) cannot overflow.
pub const CHUNK: usize = 1024;

/// Everything a guest is told about its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// A systemd root on the first NVMe disk; else the initramfs is the root.
    pub systemd: bool,
    /// Start the daemon and wait until it is ready.
    pub daemon: bool,
    pub uid: u32,
    /// Empty: a login shell.
    pub command: Vec<String>,
    /// Set: COMMAND gets the second serial port as its terminal, without frames.
    pub tty: Option<Tty>,
    /// Kernel modules in load order, as paths in the initramfs.
    pub modules: Vec<String>,
}

/// The terminal in front of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tty {
    pub term: String,
    pub rows: u16,
    pub columns: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Guest to host: bytes of COMMAND's standard output.
    Stdout = 1,
    /// Guest to host: bytes of COMMAND's standard error.
    Stderr = 2,
    /// Guest to host: there is room for one more input chunk.
    Taken = 3,
    /// Guest to host: COMMAND's status, one byte.
    Exit = 4,
    /// Guest to host: the daemon did not come up.
    NotReady = 5,
    /// Host to guest: bytes for COMMAND's standard input.
    Stdin = 16,
    /// Host to guest: no more input.
    StdinEnd = 17,
    /// Host to guest: everything was received, switch off.
    Bye = 18,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Stdout,
            Self::Stderr,
            Self::Taken,
            Self::Exit,
            Self::NotReady,
            Self::Stdin,
            Self::StdinEnd,
            Self::Bye,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The frames that carry `payload`, cut into chunks; one frame if it is empty.
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    let mut rest = payload;
    loop {
        let (chunk, tail) = rest.split_at(rest.len().min(CHUNK));
        bytes.push(kind as u8);
        bytes.extend_from_slice(&u16::try_from(chunk.len()).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(chunk);
        rest = tail;
        if rest.is_empty() {
            return bytes;
        }
    }
}

/// Collects bytes and hands out frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. `Err` holds a byte that no frame begins with: it
    /// was skipped.
    pub fn frame(&mut self) -> Option<Result<(Kind, Vec<u8>), u8>> {
        let (&first, rest) = self.bytes.split_first()?;
        let Some(kind) = Kind::from_byte(first) else {
            self.bytes.remove(0);
            return Some(Err(first));
        };
        let length = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        let payload = rest.get(2..2 + length)?.to_vec();
        self.bytes.drain(..3 + length);
        Some(Ok((kind, payload)))
    }
}
