//! What the first process of a run has open, shares or is steered by when it asks.

use std::{
    fs,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{PermissionsExt as _, chown},
            process::CommandExt as _,
        },
    },
    process::{Command, Stdio},
};

use agentid_tests::harness::{
    Daemon, Run,
    cli::AGENTID,
    scene::{PROBE, USER, USERS},
    view::RunView,
    wait,
};
use anyhow::{Context as _, Result};
use libc::EACCES;
use serde::Deserialize;
use serde_json::json;

/// Each with what is told to whoever brings it.
const BROUGHT: [(&str, &str); 20] = [
    ("thread", "the asking process has 2 threads"),
    ("tracer", "the asking process is traced by process"),
    ("ring-0", "has a ring of io_uring as descriptor 0"),
    ("ring-7", "has a ring of io_uring as descriptor 7"),
    ("polled-0", "has a ring of io_uring as descriptor 0"),
    ("polled-7", "has a ring of io_uring as descriptor 7"),
    ("mapped", "has a ring of io_uring in its memory"),
    ("backed", "the asking process has a file mapped that it may write and others see"),
    ("anonymous", "the asking process has memory mapped that it may write and others see"),
    ("listener-0", "descriptor 0 of the asking process is a socket that listens"),
    ("listener-7", "descriptor 7 of the asking process is a socket that listens"),
    ("folder-0", "descriptor 0 of the asking process is a folder"),
    ("folder-7", "descriptor 7 of the asking process is a folder"),
    ("file-3", "descriptor 3 of the asking process is open: a file"),
    ("file-7", "descriptor 7 of the asking process is open: a file"),
    ("file-700", "descriptor 700 of the asking process is open: a file"),
    ("memory", "shares its memory with another one"),
    ("descriptors", "shares its descriptors with another one"),
    ("folders", "shares its working folder and root with another one"),
    ("socket-7", "descriptor 7 of the asking process is open: socket:["),
];
/// So often a process changes while it is looked at, until it is seen to have changed after the first look.
const TRIES: usize = 300;

/// What the probe tells of a launch.
#[derive(Debug, Deserialize)]
struct Told {
    answer: String,
    /// The errno of an open that the policy denies.
    opened: Option<i32>,
}

fn bring(daemon: &Daemon, uid: u32, how: &str) -> Result<Told> {
    let scene = daemon.scene();
    let launch = json!({
        "policy": "killed", "agent": "probe", "owner": "suite", "task": how,
        "params": { "workspace": scene.workspace() },
    });
    let mut command = Command::new(PROBE);
    command.args(["bring", how]).arg(scene.socket()).arg(launch.to_string()).arg(scene.denied());
    let done = command.uid(uid).gid(uid).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    serde_json::from_str(&said).with_context(|| {
        let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
        format!("uid {uid}: {how}: {}: {said}{complaint}", done.status)
    })
}

/// P1, P2: who would bring a thread, a tracer, a ring, memory that others see, a socket that takes connections, a folder or any descriptor into a
/// run is refused, told the reason, and no run: nothing is tagged, and nothing is held for it.
#[test]
fn what_the_first_process_brings_is_refused() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for (how, expected) in BROUGHT {
            let Told { answer, opened } = bring(&daemon, uid, how)?;
            assert!(answer.contains(expected), "uid {uid}: {how}: {answer}");
            assert!(answer.contains("\"bad_process\""), "uid {uid}: {how}: {answer}");
            assert_eq!(opened, Some(0), "uid {uid}: {how} is no run");
            assert!(daemon.ps()?.is_empty(), "uid {uid}: {how}");
        }
        // What is mapped and never written to is no more than what has been read.
        for how in ["nothing", "reading"] {
            let Told { answer, opened } = bring(&daemon, uid, how)?;
            assert!(answer.starts_with("HTTP/1.1 200 "), "uid {uid}: {how}: {answer}");
            assert_eq!(opened, Some(EACCES), "uid {uid}: with {how} it is a run");
            let gone = || Ok(daemon.ps()?.is_empty().then_some(()));
            wait::until("it has ended", wait::SOON, gone)?;
        }
    }
    Ok(())
}

/// P10: who is in the middle of reading a process's memory, and stays there, keeps that from becoming no run: he has it only to read.
#[test]
fn a_slow_reader_keeps_nobody_from_becoming_a_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    let Told { answer, opened } = bring(&daemon, 0, "read")?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(opened, Some(EACCES));
    Ok(())
}

/// P1: no file gives a run another user's rights: who could still be given them is refused, unless he is root.
#[test]
fn no_run_begins_that_files_could_give_more() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let Told { answer, opened } = bring(&daemon, uid, "gains")?;
        if uid == 0 {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let gone = || Ok(daemon.ps()?.is_empty().then_some(()));
            wait::until("it has ended", wait::SOON, gone)?;
            continue;
        }
        let expected = "files of other users could give the asking process";
        assert!(answer.contains(expected) && answer.contains("PR_SET_NO_NEW_PRIVS"), "{answer}");
        assert_eq!(opened, Some(0), "it is no run");
    }
    Ok(())
}

/// P1: a program that sets its user runs as whoever starts it, also where the policy grants everything about it.
#[test]
fn a_program_that_sets_its_user_does_not_in_a_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    let folder = daemon.scene().workspace().join("bin");
    fs::create_dir_all(&folder)?;
    let program = folder.join("sets-user");
    fs::copy(AGENTID, &program)?;
    chown(&program, Some(0), Some(0))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    let text = program.to_str().context("a path that is no text")?;
    let socket = daemon.scene().socket();
    let socket = socket.to_str().context("a path that is no text")?;
    let ask = [text, "--socket", socket, "whoami", "--json"];
    // As which user it talks to the daemon, which is what the kernel says.
    let user = |words: &[&str]| -> Result<u64> {
        let (program, arguments) = words.split_first().context("no words")?;
        let mut command = Command::new(program);
        let done = command.args(arguments).uid(USER).gid(USER).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        anyhow::ensure!(done.status.success(), "{}: {said}", done.status);
        let who: serde_json::Value = serde_json::from_slice(&done.stdout)?;
        who["uid"].as_u64().with_context(|| format!("{who}"))
    };
    assert_eq!(user(&ask)?, 0, "outside of a run it does");
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    let terms = ["run", "--policy", "named", "--agent", "probe", "--owner", "suite"];
    let rest = ["--task", "test", "--param", &workspace, "--"];
    let run = [&[AGENTID, "--socket", socket], &terms[..], &rest, &ask].concat();
    assert_eq!(user(&run)?, u64::from(USER));
    fs::remove_file(&program)?;
    Ok(())
}

/// P1, P2: who opens something between the first look and its tag is killed, and its run is over: no tag stays behind.
#[test]
fn who_changes_while_it_is_tagged_is_killed() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let killed = (0..TRIES).find_map(|_| match bring(&daemon, uid, "blink") {
            Ok(told) if told.answer == "killed by 9" => Some(Ok(())),
            Ok(Told { answer, opened }) => {
                // It was seen in time, or not at all.
                let refused = answer.contains("\"bad_process\"") && opened == Some(0);
                let launched = answer.starts_with("HTTP/1.1 200 ") && opened == Some(EACCES);
                assert!(refused || launched, "uid {uid}: {opened:?}: {answer}");
                None
            }
            Err(error) => Some(Err(error)),
        });
        killed.with_context(|| format!("uid {uid}: it was never seen to change"))??;
        let all: Vec<RunView> = daemon.ask(&["ps", "-a"])?;
        let of_probe = all.iter().filter(|run| run.task == "blink");
        let ends = of_probe.filter_map(|run| run.end.as_ref()).map(|end| end.ending.as_str());
        assert!(ends.into_iter().any(|ending| ending == "launch_failed"), "uid {uid}: {all:?}");
    }
    Ok(())
}

/// P1: `agentid run` leaves its command the standard streams, whatever its own launcher had open.
#[test]
fn agentid_run_closes_what_its_launcher_has_open() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let file = fs::File::open("/")?;
        let number = file.as_raw_fd();
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        let mut command = daemon.agentid();
        command.args(["run", "--policy", "killed", "--agent", "probe", "--owner", "suite"]);
        command.args(["--task", "test", "--param", &workspace, "--", PROBE]);
        // SAFETY: plain system calls between fork and execution.
        unsafe {
            command.pre_exec(move || {
                for to in [7, 700] {
                    if libc::dup2(number, to) != to {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let run = Run::start(&daemon, command, uid, Stdio::piped())?;
        let mut open = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", run.tgid()))? {
            open.push(entry?.file_name().to_string_lossy().parse::<u32>()?);
        }
        open.sort_unstable();
        assert_eq!(open, [0, 1, 2], "uid {uid}");
    }
    Ok(())
}
