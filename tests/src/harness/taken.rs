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
    // SAFETY: plain system calls; both descriptors are new and nobody else's.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, run.tgid(), 0);
        ensure!(process >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        let process = OwnedFd::from_raw_fd(i32::try_from(process)?);
        let socket = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        ensure!(socket >= 0, "pidfd_getfd: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(i32::try_from(socket)?))
    }
}
