//! The unit, and the cgroup that pays for tags.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{Check, State, host::is_denied};

const UNIT: &str = "agentid.service";
const CGROUPS: &str = "/sys/fs/cgroup";
const JOURNAL: &str = "journalctl -u agentid says why; systemctl start agentid";

/// What `systemctl` says of the unit, or why it says nothing.
pub fn systemctl() -> Result<String, String> {
    let fields = "--property=LoadState,ActiveState,SubState,NRestarts";
    let output = Command::new("systemctl").args(["show", UNIT, fields]).output();
    let output = output.map_err(|error| format!("systemctl cannot be asked: {error}"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let told = told.lines().next().unwrap_or("nothing").to_owned();
        return Err(format!("systemctl says: {told}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the service runs, and goes on.
pub fn unit(told: &Result<String, String>) -> Check {
    let told = match told {
        Ok(told) => told,
        Err(why) => {
            return Check::new(
                "unit",
                State::Unseen,
                why,
                "see that the daemon is started at boot",
            );
        }
    };
    let field = |name: &str| {
        let lines = told.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or("unknown")
    };
    let (active, sub) = (field("ActiveState"), field("SubState"));
    let seen = format!("{UNIT} is {active} ({sub})");
    if field("LoadState") == "not-found" {
        let seen = format!("there is no {UNIT}");
        return Check::new(
            "unit",
            State::Failed,
            seen,
            "install the unit, and systemctl enable it",
        );
    }
    match field("NRestarts").parse().unwrap_or(0_u64) {
        _ if active != "active" => Check::new("unit", State::Failed, seen, JOURNAL),
        0 => Check::ok("unit", seen),
        restarts => {
            let seen = format!("{seen}, restarted {restarts} times since it was started");
            Check::new("unit", State::Warning, seen, "journalctl -u agentid says why")
        }
    }
}

/// Whether the cgroup of whoever listens at the socket is limited.
pub fn memory(socket: &Path) -> Check {
    let remedy = "set no MemoryMax= and MemoryHigh= on the service";
    match limits_of_listener(socket) {
        Ok((cgroup, limits)) => self::limits(&cgroup, &limits),
        Err(error) => {
            let state = if is_denied(&error) { "may not be seen" } else { "is not known" };
            let seen = format!("the daemon's cgroup {state}: {error}");
            Check::new("memory", State::Unseen, seen, remedy)
        }
    }
}

/// Whether it, or one above it, has a limit: when it is reached, no task of a run can fork.
pub fn limits(cgroup: &Path, limits: &[(PathBuf, &'static str, String)]) -> Check {
    let Some((limited, file, limit)) = limits.first() else {
        return Check::ok("memory", format!("no limit for {}", cgroup.display()));
    };
    let seen =
        format!("{} has {file} = {limit}: when it is full no run can fork", limited.display());
    if limited == cgroup {
        let remedy = "take MemoryMax= and MemoryHigh= out of the unit: systemctl edit agentid";
        Check::new("memory", State::Failed, seen, remedy)
    } else {
        let remedy = "give the service a slice without a limit: Slice= in the unit";
        Check::new("memory", State::Warning, seen, remedy)
    }
}

type Limits = (PathBuf, Vec<(PathBuf, &'static str, String)>);

fn limits_of_listener(socket: &Path) -> io::Result<Limits> {
    let stream = UnixStream::connect(socket)?;
    let tgid = getsockopt(&stream, PeerCredentials)?.pid();
    let text = fs::read_to_string(format!("/proc/{tgid}/cgroup"))?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = own.ok_or_else(|| io::Error::other("it is in no cgroup of version 2"))?;
    let folder = Path::new(CGROUPS).join(own);
    fs::metadata(folder.join("cgroup.procs"))?;
    let mut limits = Vec::new();
    for above in folder.ancestors().take_while(|above| *above != Path::new("/sys/fs")) {
        for file in ["memory.max", "memory.high"] {
            // The root has none, and neither has one for which memory is not counted.
            let Ok(limit) = fs::read_to_string(above.join(file)) else { continue };
            if limit.trim() != "max" {
                limits.push((named(above), file, limit.trim().to_owned()));
            }
        }
    }
    Ok((named(&folder), limits))
}

/// As systemd names it.
fn named(folder: &Path) -> PathBuf {
    Path::new("/").join(folder.strip_prefix(CGROUPS).unwrap_or(folder))
}
