//! Who starts a run: a shell at a terminal, a script without one, systemd.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use agentid_tests::harness::{
    Daemon, Scene,
    cli::{AGENTID, output},
    scene::USERS,
    wait,
};
use anyhow::{Context as _, Result};
use serde_json::Value;

use super::done;

const SHELL: &str = include_str!("shell.py");
/// What a person without agentid sees, line by line.
const BARE: &str = "\
leads its group: True
Stopped
Running
interrupted 130
ended 7
died 138
closed 129
has the terminal 0 0
the shell ended with 0
";

fn daemon() -> Result<Daemon> {
    let shipped = fs::read_to_string("/etc/agentid/policies.d/coding-agent.toml")?;
    Daemon::start_in(Scene::with(&[(
        "launched",
        &shipped.replace("\"coding-agent\"", "\"launched\""),
    )])?)
}

/// What is typed before a command to have it be a run.
fn prefix(daemon: &Daemon) -> String {
    let scene = daemon.scene();
    format!(
        "{AGENTID} --socket {} run --policy launched --agent job --owner suite --task launcher --param workspace={} --",
        scene.socket().display(),
        scene.workspace().display()
    )
}

fn said(command: &mut Command) -> Result<String> {
    let Output { stdout, stderr, .. } = command.env("LC_ALL", "C").output()?;
    Ok(String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn of_systemd(arguments: &[&str]) -> Result<String> {
    Ok(output(Command::new("systemctl").args(arguments), &[0, 3])?.trim().to_owned())
}

/// A unit that is there until it goes out of scope.
struct Unit {
    name: &'static str,
    file: PathBuf,
}

impl Unit {
    fn start(name: &'static str, service: &str) -> Result<Self> {
        let file = PathBuf::from(format!("/run/systemd/system/{name}.service"));
        fs::create_dir_all("/run/systemd/system")?;
        fs::write(&file, format!("[Service]\nType=exec\n{service}\n"))?;
        let unit = Self { name, file };
        done(Command::new("systemctl").arg("daemon-reload"))?;
        done(Command::new("systemctl").args(["start", name]))?;
        Ok(unit)
    }

    fn tells(&self, property: &str) -> Result<String> {
        of_systemd(&["show", "--value", "--property", property, self.name])
    }

    /// Those of its cgroup and of all below it, which are the unit's for systemd.
    fn processes(&self) -> Result<BTreeSet<u32>> {
        let mut groups =
            vec![PathBuf::from(format!("/sys/fs/cgroup{}", self.tells("ControlGroup")?))];
        let mut processes = BTreeSet::new();
        while let Some(group) = groups.pop() {
            for process in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
                processes.insert(process.parse()?);
            }
            for entry in fs::read_dir(group)? {
                let entry = entry?;
                groups.extend(entry.file_type()?.is_dir().then(|| entry.path()));
            }
        }
        Ok(processes)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        for arguments in [["stop", self.name], ["reset-failed", self.name]] {
            Command::new("systemctl").args(arguments).output().map(drop).unwrap_or_default();
        }
        fs::remove_file(&self.file).unwrap_or_default();
    }
}

/// The one run that lives, once it does: systemd is content when the command has started that asks for it.
fn lives(daemon: &Daemon) -> Result<Value> {
    wait::until("one run lives", wait::SOON, || {
        let runs: Vec<Value> = daemon.ask(&["ps"])?;
        let mut live = runs.into_iter().filter(|run| run["phase"] == "active");
        let one = live.next();
        Ok(if live.next().is_none() { one } else { None })
    })
}

fn ended(daemon: &Daemon, run: &Value) -> Result<Value> {
    let id = run["id"].as_str().context("no ID")?.to_owned();
    wait::until("the run has ended", wait::SOON, || {
        let run: Value = daemon.ask(&["show", &id])?;
        Ok((run["phase"] == "ended").then_some(run["end"].clone()))
    })
}

/// P1: a run is a job of the shell that starts it: ^Z, jobs, bg, fg and ^C work, and its exit status and signal are those of
/// the bare command.
#[test]
fn a_shell_has_a_run_for_a_job_as_if_it_were_bare() -> Result<()> {
    let daemon = daemon()?;
    let shell = |uid: u32, run: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", SHELL]).env("RUN", run).current_dir(daemon.scene().workspace());
        said(python.uid(uid).gid(uid).stdin(Stdio::null()))
    };
    assert_eq!(shell(0, "")?, BARE, "bare");
    for uid in USERS {
        assert_eq!(shell(uid, &prefix(&daemon))?, BARE, "uid {uid}: {}", daemon.log());
    }
    Ok(())
}

/// P1: a script without a terminal has input, output, statuses and signals of its runs as of any command.
#[test]
fn a_script_without_a_terminal_starts_runs() -> Result<()> {
    let daemon = daemon()?;
    let script = "printf 'a\\nb\\n' | $RUN cat | $RUN wc -l; $RUN false; echo $?; $RUN sh -c 'exit 7' || echo $?; \
                  $RUN sh -c 'echo here; exec sleep 1000' >here & until [ -s here ]; do sleep 0.1; done; \
                  kill -TERM $!; wait $!; echo $?; rm here; $RUN sh -c 'echo told >&2' 2>&1 >/dev/null";
    let shell = |uid: u32, run: &str| {
        let mut shell = Command::new("setsid");
        shell.args(["--wait", "sh", "-c", script]).env("RUN", run);
        shell.current_dir(daemon.scene().workspace()).uid(uid).gid(uid).stdin(Stdio::null());
        // Whether the shell says of its own how a job has ended depends on when it looks.
        Ok::<_, anyhow::Error>(said(&mut shell)?.replace("Terminated\n", ""))
    };
    let bare = "2\n1\n7\n143\ntold\n";
    assert_eq!(shell(0, "")?, bare, "bare");
    for uid in USERS {
        assert_eq!(shell(uid, &prefix(&daemon))?, bare, "uid {uid}: {}", daemon.log());
    }
    Ok(())
}

/// P1: systemd starts runs, whose input, output and status are those of the command.
#[test]
fn systemd_run_has_the_input_output_and_status_of_a_run() -> Result<()> {
    let daemon = daemon()?;
    let mut systemd = Command::new("systemd-run");
    systemd.args(["--pipe", "--wait", "--quiet"]).args(prefix(&daemon).split(' '));
    systemd.args(["sh", "-c", "cat; exit 7"]).stdin(Stdio::piped());
    let mut child = systemd.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(b"through a pipe\n")?;
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&stderr);
    assert_eq!(String::from_utf8_lossy(&stdout), "through a pipe\n", "{complaint}");
    assert_eq!(status.code(), Some(7), "{complaint}");
    Ok(())
}

/// P1: a unit whose command is a run is that run: a restart is another one, and what is stopped has ended.
#[test]
fn a_unit_that_is_a_run_is_restarted_and_stopped() -> Result<()> {
    let daemon = daemon()?;
    let service = format!("ExecStart={} sh -c 'sleep 1000 & exec sleep 1001'", prefix(&daemon));
    let unit = Unit::start("agentid-launched", &service)?;
    let first = lives(&daemon)?;
    assert_eq!(unit.tells("ActiveState")?, "active");
    assert_eq!(unit.tells("MainPID")?, first["tgid"].to_string());
    done(Command::new("systemctl").args(["restart", unit.name]))?;
    assert_eq!(ended(&daemon, &first)?["ending"], "completed");
    let second = lives(&daemon)?;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(unit.tells("MainPID")?, second["tgid"].to_string());
    done(Command::new("systemctl").args(["stop", unit.name]))?;
    assert_eq!(ended(&daemon, &second)?["ending"], "completed");
    assert_eq!(
        (unit.tells("ActiveState")?, unit.tells("Result")?),
        ("inactive".to_owned(), "success".to_owned())
    );
    // What ends the run ends the unit.
    done(Command::new("systemctl").args(["start", unit.name]))?;
    let third = lives(&daemon)?;
    daemon.revoke(third["id"].as_str().context("no ID")?)?;
    wait::until("the unit has failed", wait::SOON, || {
        Ok((unit.tells("ActiveState")? == "failed").then_some(()))
    })?;
    assert_eq!(unit.tells("Result")?, "signal");
    Ok(())
}

/// P1: a service that runs already becomes a run with all its processes, and goes on until that is revoked.
#[test]
fn a_unit_that_runs_already_is_adopted() -> Result<()> {
    let daemon = daemon()?;
    let unit = Unit::start(
        "agentid-adopted",
        "ExecStart=/bin/sh -c 'sleep 1000 & (sleep 1001 & exec sleep 1002) & exec sleep 1003'",
    )?;
    let all = wait::until("all of it is there", wait::SOON, || {
        let all = unit.processes()?;
        Ok((all.len() == 4).then_some(all))
    })?;
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    let adopted: Value = daemon.ask(&[
        "adopt", "--unit", unit.name, "--policy", "launched", "--agent", "service", "--owner",
        "suite", "--task", "unit", "--param", &workspace,
    ])?;
    let numbers = |list: &Value| -> BTreeSet<u32> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|it| it.as_u64()?.try_into().ok()).collect()
    };
    assert_eq!(numbers(&adopted["processes"]), all);
    let tree: Vec<Value> = daemon.ask(&["tree"])?;
    let processes = tree[0]["processes"].as_array().context("no processes")?;
    let tagged: BTreeSet<u32> =
        processes.iter().filter_map(|it| it["tgid"].as_u64()?.try_into().ok()).collect();
    assert_eq!(tagged, all, "the kernel has them all");
    assert_eq!(unit.tells("ActiveState")?, "active");
    assert_eq!(unit.processes()?, all, "they are still the unit's");
    daemon.revoke(adopted["run"]["id"].as_str().context("no ID")?)?;
    wait::until("the unit has failed", wait::SOON, || {
        Ok((unit.tells("ActiveState")? == "failed").then_some(()))
    })?;
    Ok(())
}
