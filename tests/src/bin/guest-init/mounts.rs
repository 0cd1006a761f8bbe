//! The file systems, links and interfaces that programs expect of a Linux root.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};

/// Type, folder, options. In mounting order.
const EARLY: [(&str, &str, &str); 3] =
    [("proc", "/proc", ""), ("sysfs", "/sys", ""), ("devtmpfs", "/dev", "mode=755")];
const REST: [(&str, &str, &str); 8] = [
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
    ("securityfs", "/sys/kernel/security", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", "mode=700"),
    ("tracefs", "/sys/kernel/tracing", ""),
];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Enough to read the boot file's modules, the disk and the console.
pub fn early() -> Result<()> {
    EARLY.iter().try_for_each(mount_one)
}

/// The rest of a root without systemd.
pub fn rest() -> Result<()> {
    REST.iter().try_for_each(mount_one)?;
    for (target, link) in DEVICE_LINKS {
        symlink(target, link).with_context(|| format!("failed to link {link}"))?;
    }
    fs::write("/proc/sys/kernel/hostname", "guest").context("failed to set the host name")?;
    // The kernel gives lo its IPv4 and IPv6 address when it comes up.
    let up = Command::new("/bin/busybox").args(["ip", "link", "set", "lo", "up"]).status();
    ensure!(up.context("failed to run busybox ip")?.success(), "failed to bring lo up");
    Ok(())
}

fn mount_one((kind, folder, options): &(&str, &str, &str)) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {folder}"))?;
    mount(Some(*kind), *folder, Some(*kind), MsFlags::empty(), Some(*options))
        .with_context(|| format!("failed to mount {kind} on {folder}"))
}

/// Loads one uncompressed module file.
pub fn load_module(path: &str) -> Result<()> {
    let file = fs::File::open(path).with_context(|| format!("failed to open {path}"))?;
    // SAFETY: finit_module reads the open file and a NUL-terminated string.
    let done = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    if done == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).with_context(|| format!("failed to load module {path}"))
}
