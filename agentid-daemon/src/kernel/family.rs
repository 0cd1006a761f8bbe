//! The tasks of a small run, by a look at its first process and all that has come from it.
//!
//! The list of all tagged tasks costs the more the more tasks the host has. A run of a few processes is found sooner in
//! `/proc`, where the kernel says what the children of a task are (fs/proc/array.c: `children_seq_show`; `CONFIG_PROC_CHILDREN`).
//! Who has lost his parent is not found so, which the number of tasks tells.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A run with more tasks is found sooner in the list, unless the host has very many.
pub const SMALL: u64 = 8;

/// The processes that come from this one, itself included, if they have `tasks` tasks together; `None` if the list has to
/// tell. Which of them are of the run, their tags tell.
pub fn of(tgid: u32, tasks: u64) -> Option<Vec<u32>> {
    let (mut found, mut seen, mut next) = (vec![tgid], 0, 0);
    while let Some(tgid) = found.get(next) {
        next += 1;
        for task in tasks_of(*tgid).ok()? {
            seen += 1;
            if seen > SMALL {
                return None;
            }
            found.extend(children(&task).ok()?);
        }
    }
    (seen >= tasks).then_some(found)
}

fn tasks_of(tgid: u32) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{tgid}/task"))?.map(|task| Ok(task?.path())).collect()
}

fn children(task: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(task.join("children"))?;
    text.split_whitespace().map(|number| number.parse().map_err(io::Error::other)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn finds_what_has_come_from_a_process() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "sleep 60 & echo $!; wait"]).stdout(std::process::Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut sleeps = String::new();
        let mut says = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut says, &mut sleeps).unwrap();
        let sleeps: u32 = sleeps.trim().parse().unwrap();
        assert_eq!(of(shell.id(), 2), Some(vec![shell.id(), sleeps]));
        assert_eq!(of(shell.id(), 3), None, "one has lost its parent");
        for process in [sleeps, shell.id()] {
            let process = nix::unistd::Pid::from_raw(process.cast_signed());
            nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        shell.wait().unwrap();
        assert_eq!(of(shell.id(), 1), None);
    }
}
