//! Which network namespace the daemon is in.

use std::{io, os::fd::AsRawFd as _, os::unix::net::UnixDatagram};

/// The number by which the kernel programs tell it from others, never given twice while the machine runs (net/core/sock.c:
/// `SO_NETNS_COOKIE`, Linux 5.14).
pub fn cookie() -> io::Result<u64> {
    let (socket, _) = UnixDatagram::pair()?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: there is room for the number, of the given length.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
