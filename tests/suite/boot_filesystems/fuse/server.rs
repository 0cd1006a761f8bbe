//! As much of a FUSE server as shows one file (include/uapi/linux/fuse.h).

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use crate::boot_filesystems::made::Mounted;

mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const RELEASE: u32 = 18;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
}

const ROOT: u64 = 1;
const FILE: u64 = 2;
const NAME: &[u8] = b"a\0";
const TEXT: &[u8] = b"text";
/// `struct fuse_in_header`.
const HEADER: usize = 40;
/// Seconds for which the kernel need not ask again.
const VALID: u64 = 0;

/// Serves from a thread, which ends when nothing of it is mounted or open any more.
pub struct Server {
    askers: Arc<Mutex<BTreeSet<u32>>>,
    _mounted: Mounted,
}

impl Server {
    pub fn mount(point: &Path) -> Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("server"), point, Some("fuse"), flags, Some(options.as_str()))
            .context("failed to mount FUSE")?;
        let mounted = Mounted::at(point);
        let askers = Arc::default();
        let asked = Arc::clone(&askers);
        thread::spawn(move || {
            if let Err(error) = serve(device, &asked) {
                eprintln!("the server has ended: {error:#}");
            }
        });
        Ok(Self { askers, _mounted: mounted })
    }

    /// The processes that have asked for something.
    pub fn askers(&self) -> Result<BTreeSet<u32>> {
        match self.askers.lock() {
            Ok(askers) => Ok(askers.clone()),
            Err(_) => bail!("the server has died"),
        }
    }
}

fn serve(mut device: File, askers: &Mutex<BTreeSet<u32>>) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            // A request that was taken back.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error).context("failed to read a request"),
        };
        let request = buffer.get(..length).context("a request is too long")?;
        let (operation, unique) = (word(request, 4)?, long(request, 8)?);
        let (node, asker) = (long(request, 16)?, word(request, 32)?);
        if let Ok(mut askers) = askers.lock() {
            askers.insert(asker);
        }
        let Some(answer) = answer(operation, node, request.get(HEADER..).unwrap_or_default())
        else {
            continue;
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        // `struct fuse_out_header`.
        let mut reply = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        match device.write_all(&reply) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
}

/// What is said to a request; nothing to some.
fn answer(operation: u32, node: u64, body: &[u8]) -> Option<Result<Vec<u8>, i32>> {
    use opcode as op;
    Some(match operation {
        op::FORGET | op::BATCH_FORGET | op::INTERRUPT => return None,
        op::INIT => Ok(begin()),
        op::LOOKUP if node == ROOT && body == NAME => {
            let mut entry = longs(&[FILE, 0, VALID, VALID, 0]);
            entry.extend(facts(FILE));
            Ok(entry)
        }
        op::LOOKUP => Err(libc::ENOENT),
        op::GETATTR => {
            let mut found = longs(&[VALID, 0]);
            found.extend(facts(node));
            Ok(found)
        }
        op::OPEN | op::OPENDIR => Ok(longs(&[0, 0])),
        op::READ => Ok(TEXT.to_vec()),
        op::READDIR | op::RELEASE | op::RELEASEDIR | op::FLUSH => Ok(Vec::new()),
        _ => Err(libc::ENOSYS),
    })
}

/// `struct fuse_init_out` of version 7.31.
fn begin() -> Vec<u8> {
    let mut words = vec![7_u32, 31, 0, 0, 0, 4096, 0, 0];
    words.resize(16, 0);
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct fuse_attr`.
fn facts(node: u64) -> Vec<u8> {
    let (mode, size) = if node == ROOT {
        (libc::S_IFDIR | 0o777, 0)
    } else {
        (libc::S_IFREG | 0o666, TEXT.len() as u64)
    };
    let mut facts = longs(&[node, size, 1, 0, 0, 0]);
    let words = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0];
    facts.extend(words.iter().flat_map(|word: &u32| word.to_ne_bytes()));
    facts
}

fn longs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..at + 4).context("a request is too short")?;
    Ok(u32::from_ne_bytes(found.try_into()?))
}

fn long(bytes: &[u8], at: usize) -> Result<u64> {
    let found = bytes.get(at..at + 8).context("a request is too short")?;
    Ok(u64::from_ne_bytes(found.try_into()?))
}
