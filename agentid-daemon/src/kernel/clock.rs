//! Whether somebody keeps this host's clock (adjtimex(2)).

use std::{io, mem::MaybeUninit};

/// Whether the kernel takes its clock for the time of day.
pub fn is_synchronised() -> io::Result<bool> {
    let mut told = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all of it being zero is a valid `timex`, and without modes the call changes nothing but this structure.
    let state = unsafe { libc::adjtimex(told.as_mut_ptr()) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(state != libc::TIME_ERROR) }
}
