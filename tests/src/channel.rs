//! Questions and answers through memory that two processes share: what a run has mapped goes on after its end, when
//! every descriptor of it is dead.
//!
//! The memory is a file in memory that the run is given for its standard input. There is one word in each direction at a
//! time; the other side waits for it on a futex, which no hook is asked about.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Serialize, de::DeserializeOwned};

/// Longest word.
const ROOM: usize = 256 * 1024;

/// One direction.
#[repr(C)]
struct Slot {
    /// Number of words said up to now.
    said: AtomicU32,
    length: AtomicU32,
    bytes: [u8; ROOM],
}

#[repr(C)]
struct Memory {
    question: Slot,
    answer: Slot,
    /// Not 0 when nothing more will be asked.
    over: AtomicU32,
}

/// One end of the channel.
pub struct Channel {
    memory: NonNull<Memory>,
    /// Words of the other end that were taken.
    heard: u32,
    side: Side,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Asking,
    Answering,
}

// SAFETY: both ends reach the memory through atomics, and its bytes only in turns.
unsafe impl Send for Channel {}

/// What came of waiting.
pub enum Heard<T> {
    Word(T),
    /// Nothing in time.
    Nothing,
    /// Nothing will come any more.
    Over,
}

impl Channel {
    /// New memory for a channel, and the end that asks.
    pub fn new() -> Result<(Self, File)> {
        let name = c"channel";
        // SAFETY: a plain system call with a C string; the descriptor is new and nobody else's.
        let file = unsafe {
            let descriptor = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error()).context("failed to make shared memory");
            }
            <File as std::os::fd::FromRawFd>::from_raw_fd(descriptor)
        };
        file.set_len(size_of::<Memory>() as u64)?;
        Ok((Self::map(file.as_fd(), Side::Asking)?, file))
    }

    /// The other end, from its descriptor.
    pub fn open(descriptor: BorrowedFd<'_>) -> Result<Self> {
        Self::map(descriptor, Side::Answering)
    }

    /// Has the children of this process be without it.
    pub fn keep_from_children(&self) -> Result<()> {
        // SAFETY: changes nothing of the mapping for this process.
        let kept = unsafe {
            libc::madvise(self.memory.as_ptr().cast(), size_of::<Memory>(), libc::MADV_DONTFORK)
        };
        ensure!(kept == 0, "madvise: {}", io::Error::last_os_error());
        Ok(())
    }

    fn map(descriptor: BorrowedFd<'_>, side: Side) -> Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let number = descriptor.as_raw_fd();
        // SAFETY: a new mapping, which lasts as long as the channel.
        let memory =
            unsafe { libc::mmap(null_mut(), size_of::<Memory>(), access, flags, number, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("failed to map the channel");
        }
        let memory = NonNull::new(memory.cast()).context("the channel is mapped nowhere")?;
        Ok(Self { memory, heard: 0, side })
    }

    fn memory(&self) -> &Memory {
        // SAFETY: mapped above, where zeros are valid, and unmapped with the channel.
        unsafe { self.memory.as_ref() }
    }

    fn mine(&self) -> *mut Slot {
        // SAFETY: fields of what is mapped.
        unsafe {
            match self.side {
                Side::Asking => &raw mut (*self.memory.as_ptr()).question,
                Side::Answering => &raw mut (*self.memory.as_ptr()).answer,
            }
        }
    }

    fn theirs(&self) -> &Slot {
        match self.side {
            Side::Asking => &self.memory().answer,
            Side::Answering => &self.memory().question,
        }
    }

    /// Says a word. The other end has taken the last one, or it is lost.
    pub fn say<T: Serialize>(&self, word: &T) -> Result<()> {
        let text = serde_json::to_vec(word)?;
        ensure!(text.len() <= ROOM, "{} bytes are too long a word", text.len());
        let slot = self.mine();
        // SAFETY: the room is large enough, and the other end does not look before it is told to.
        unsafe {
            std::ptr::copy_nonoverlapping(
                text.as_ptr(),
                (&raw mut (*slot).bytes).cast(),
                text.len(),
            );
            (*slot).length.store(u32::try_from(text.len())?, Ordering::Relaxed);
            (*slot).said.fetch_add(1, Ordering::Release);
            wake(&(*slot).said);
        }
        Ok(())
    }

    /// Says that nothing more will be asked.
    pub fn close(&self) {
        let Memory { question, over, .. } = self.memory();
        over.store(1, Ordering::Release);
        // Who is about to wait has looked at `over` already, and must find another value.
        question.said.fetch_add(1, Ordering::Release);
        wake(&question.said);
    }

    /// Waits so long for the other end's next word.
    pub fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<Heard<T>> {
        let slot = self.theirs();
        if slot.said.load(Ordering::Acquire) == self.heard {
            sleep(&slot.said, self.heard, patience)?;
            if slot.said.load(Ordering::Acquire) == self.heard {
                return Ok(Heard::Nothing);
            }
        }
        if self.memory().over.load(Ordering::Acquire) != 0 {
            return Ok(Heard::Over);
        }
        let length = usize::try_from(slot.length.load(Ordering::Relaxed))?;
        let text = slot.bytes.get(..length).context("the word is longer than its room")?;
        let word = serde_json::from_slice(text)
            .with_context(|| format!("failed to read {}", String::from_utf8_lossy(text)))?;
        self.heard = self.heard.wrapping_add(1);
        Ok(Heard::Word(word))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), size_of::<Memory>()) };
    }
}

fn wake(word: &AtomicU32) {
    // SAFETY: a plain system call on an address of ours.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Returns when the word has another value, when the time is over, or earlier.
fn sleep(word: &AtomicU32, value: u32, patience: Duration) -> Result<()> {
    let time = libc::timespec {
        tv_sec: patience.as_secs().cast_signed(),
        tv_nsec: patience.subsec_nanos().into(),
    };
    // SAFETY: a plain system call on an address of ours; the time is relative.
    let slept = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const time)
    };
    if slept == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error
            if [libc::EAGAIN, libc::EINTR, libc::ETIMEDOUT]
                .map(Some)
                .contains(&error.raw_os_error()) =>
        {
            Ok(())
        }
        error => bail!("failed to wait for a word: {error}"),
    }
}
