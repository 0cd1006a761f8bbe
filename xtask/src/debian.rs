//! The Debian guest: a disk made once, and what is copied over it at each boot.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::apt::{KEYRING, Suite};
use crate::cpio::{HOME_UID, Tree};
use crate::setup::{self, Cache};
use crate::{shell, wire};

const SUITE: &str = "trixie";
/// Renamed when the list below or the recipe changes, so that the disk is made anew.
const DISK: &str = "debian-trixie-3";
const PACKAGES: &str = "systemd-sysv,dbus,bash,python3,git,curl,iproute2,procps,ca-certificates,\
                        openssh-client,less,vim-tiny,strace,openssl,knot,bind9-dnsutils,nodejs,\
                        rsync,sqlite3,make,cargo,python3-pip,redis-server,postgresql-17";
const SIZE: &str = "3G";
/// What no test reads, and what compilers need for optimizing at link time alone.
const LEFT_OUT: [&str; 6] = [
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "*/lto1",
    "*lto-dump*",
];
/// Without the first three systemd waits 90 s for a serial device that no udev
/// announces; the next five want modules or a network that the guest has not. Tests start servers by themselves.
const MASKED: [&str; 10] = [
    "serial-getty@ttyS0.service",
    "dev-ttyS0.device",
    "getty@tty1.service",
    "systemd-modules-load.service",
    "proc-sys-fs-binfmt_misc.automount",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "systemd-networkd-wait-online.service",
    "postgresql.service",
    "redis-server.service",
];

/// The disk image, made with the first call.
pub fn disk(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.folder(DISK, "the Debian guest's root; two minutes", |folder| {
        setup::tools(&[&setup::MMDEBSTRAP, &setup::MKE2FS])?;
        let uri = Suite::open(cache, SUITE)?.uri().to_owned();
        let root = folder.join("root");
        let no_root = "building a Debian root needs root: type sudo -v first, or run as root";
        let mut bootstrap = shell::as_root("mmdebstrap").context(no_root)?;
        bootstrap.args(["--variant=minbase", "--include", PACKAGES, "--keyring", KEYRING]);
        // Nobody needs what a crash would leave of it.
        bootstrap.arg("--dpkgopt=force-unsafe-io");
        bootstrap.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
        bootstrap.arg("--customize-hook").arg(format!(
            "chroot \"$1\" useradd --create-home --uid {HOME_UID} --shell /bin/bash dev"
        ));
        bootstrap.args(["--format=directory", SUITE]).arg(&root).arg(uri);
        shell::run_quiet(&mut bootstrap)?;
        let disk = folder.join("root.ext4");
        let mut format = shell::as_root("mke2fs").context(no_root)?;
        format.args(["-q", "-t", "ext4", "-L", "guest", "-d"]).arg(&root).arg(&disk).arg(SIZE);
        shell::run_quiet(&mut format)?;
        let mut remove = shell::as_root("rm").context(no_root)?;
        shell::run_quiet(remove.args(["-rf", "--one-file-system"]).arg(&root))?;
        fs::metadata(&disk).context("mke2fs made no disk").map(drop)
    })?;
    Ok(folder.join("root.ext4"))
}

/// The boot file, the unit that runs COMMAND, and what systemd is spared.
pub fn payload(boot: &[u8], daemon: bool) -> Tree {
    let mut tree = Tree::default();
    tree.file(wire::BOOT_FILE, 0o644, boot);
    tree.file("etc/hostname", 0o644, "guest\n");
    tree.file("etc/hosts", 0o644, "127.0.0.1 localhost guest\n::1 localhost\n");
    tree.file("etc/fstab", 0o644, "/dev/nvme0n1 / ext4 noatime 0 0\n");
    let after = if daemon { "Wants=agentid.service\nAfter=agentid.service\n" } else { "" };
    tree.file(
        "etc/systemd/system/agentid-guest.service",
        0o644,
        format!(
            "[Unit]\nDescription=The command of this boot\n{after}\
             After=systemd-user-sessions.service\n\n\
             [Service]\nType=oneshot\nExecStart=/usr/bin/guest-init run\nTimeoutStartSec=infinity\n\
             KillMode=process\n"
        ),
    );
    tree.link(
        "etc/systemd/system/multi-user.target.wants/agentid-guest.service",
        "/etc/systemd/system/agentid-guest.service",
    );
    for unit in MASKED {
        tree.link(&format!("etc/systemd/system/{unit}"), "/dev/null");
    }
    tree
}
