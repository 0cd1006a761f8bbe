//! The ring of records, as frames of bytes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};

/// The reading end. It is readable when the kernel has woken it; records without a wake-up are found by reading from
/// time to time.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// Hands each waiting frame to `each`, up to so many, and frees its room; whether there may be more.
    pub fn read(&mut self, most: usize, each: &mut dyn FnMut(&[u8])) -> bool {
        for _ in 0..most {
            let Some(frame) = self.0.next() else { return false };
            each(&frame);
        }
        true
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the ring, which the borrow keeps.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
