//! What root takes from a run.

use std::{
    fs,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::Run;

/// The only socket of a run, taken from it as root may.
pub fn socket_of(run: &Run) -> Result<OwnedFd> {
    let is_socket = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    let folder = fs::read_dir(format!("/proc/{}/fd", run.tgid()))?;
    let paths = folder.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let sockets: Vec<_> = paths.into_iter().filter(is_socket).collect();
    let [path] = sockets.as_slice() else { bail!("{sockets:?} are not one socket") };
    let number: libc::c_int = path.file_name().context("no name")?.to_string_lossy().parse()?;
    descriptor_of(run.tgid(), number)
}

/// A descriptor of a process, taken from it as root may.
pub fn descriptor_of(tgid: u32, number: libc::c_int) -> Result<OwnedFd> {
    // SAFETY: plain system calls; both descriptors are new and nobody else's.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, tgid, 0);
        ensure!(process >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        let process = OwnedFd::from_raw_fd(i32::try_from(process)?);
        let taken = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        ensure!(taken >= 0, "pidfd_getfd: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(i32::try_from(taken)?))
    }
}

/// That all which a connection has sent has arrived: nothing is on its way.
pub fn has_all_arrived(socket: &OwnedFd) -> Result<bool> {
    // SAFETY: integers all through.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info))?;
    // SAFETY: the call writes at most the given length, and how much it was.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    ensure!(failed == 0, "TCP_INFO: {}", std::io::Error::last_os_error());
    Ok(info.tcpi_unacked == 0)
}

/// That a connection has bytes that it has not sent yet.
pub fn has_more_to_send(socket: &OwnedFd) -> Result<bool> {
    /// `SIOCOUTQNSD` of `linux/sockios.h`.
    const NOT_SENT: libc::c_ulong = 0x894b;
    let mut count: libc::c_int = 0;
    // SAFETY: the call writes one integer.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), NOT_SENT as _, &raw mut count) };
    ensure!(failed == 0, "SIOCOUTQNSD: {}", std::io::Error::last_os_error());
    Ok(count > 0)
}
