//! COMMAND as a process: whose it is, what it sees, how it ends.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::wire::Boot;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One line of /etc/passwd.
struct Account {
    name: String,
    gid: u32,
    home: String,
    shell: String,
}

/// COMMAND as the user's own session leader, ready to be given its streams.
/// With `terminal` its standard input becomes its controlling terminal.
pub fn prepare(boot: &Boot, terminal: bool) -> Command {
    let account = account(boot.uid);
    let mut command = match boot.command.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        None => {
            let mut command = Command::new(&account.shell);
            command.arg("-l");
            command
        }
    };
    let home = if Path::new(&account.home).is_dir() { account.home.as_str() } else { "/" };
    command.env_clear().env("PATH", PATH).env("HOME", home).env("SHELL", &account.shell);
    command.env("USER", &account.name).env("LOGNAME", &account.name).env("LANG", "C.UTF-8");
    command.current_dir(home).uid(boot.uid).gid(account.gid);
    let begin = move || {
        nix::unistd::setsid()?;
        SigSet::empty().thread_set_mask()?;
        if terminal {
            // SAFETY: TIOCSCTTY takes an integer; standard input is an open terminal.
            Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        }
        Ok(())
    };
    // SAFETY: these calls are async-signal-safe and nothing is allocated.
    unsafe { command.pre_exec(begin) };
    command
}

/// The group of `uid`, for the files made for it.
pub fn gid(uid: u32) -> u32 {
    account(uid).gid
}

fn account(uid: u32) -> Account {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, gid, _, home, shell] = fields.as_slice() else { return None };
        (id.parse() == Ok(uid)).then_some(Account {
            name: (*name).to_owned(),
            gid: gid.parse().ok()?,
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    });
    found.unwrap_or_else(|| Account {
        name: uid.to_string(),
        gid: uid,
        home: "/".to_owned(),
        shell: "/bin/sh".to_owned(),
    })
}

/// The shell's status for a COMMAND that could not be started.
pub fn start_status(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// Reaps every ended child; COMMAND's status, once it is among them.
pub fn reap(child: Pid) -> Option<u8> {
    let mut status = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(id, code)) if id == child => {
                status = Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(id, signal, _)) if id == child => {
                status = Some(signal_status(signal));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return status,
            Ok(_) | Err(_) => {}
        }
    }
}

fn signal_status(signal: Signal) -> u8 {
    128 + u8::try_from(signal as i32).unwrap_or(0)
}
