//! Processes that run already become a run.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agentid_tests::{
    harness::{
        Daemon, Run,
        cli::AGENTID,
        scene::{PROBE, USER, USERS},
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Context as _, Result, bail};
use libc::{EACCES, EPERM};
use nix::{
    sys::{
        ptrace,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};
use serde::Deserialize;

const CGROUPS: &str = "/sys/fs/cgroup";

/// What `adopt --json` prints.
#[derive(Debug, Deserialize)]
struct Adopted {
    run: Reply,
    processes: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Reply {
    id: String,
}

/// A cgroup of the test's own, with a process in it; removed when it is empty.
struct Group(PathBuf);

impl Group {
    fn of(name: &str, process: u32) -> Result<Self> {
        let path = Path::new(CGROUPS).join(name);
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        fs::write(path.join("cgroup.procs"), process.to_string())?;
        Ok(Self(path))
    }

    fn is_populated(&self) -> Result<bool> {
        let events = fs::read_to_string(self.0.join("cgroup.events"))?;
        Ok(events.lines().any(|line| line == "populated 1"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

fn terms<'a>(from: [&'a str; 2], workspace: &'a str) -> Vec<&'a str> {
    let rest = ["--agent", "probe", "--owner", "suite", "--task", "test", "--param", workspace];
    ["adopt"].into_iter().chain(from).chain(["--policy", "killed"]).chain(rest).collect()
}

fn workspace(daemon: &Daemon) -> String {
    format!("workspace={}", daemon.scene().workspace().display())
}

fn adopt(daemon: &Daemon, run: &mut Run, from: [&str; 2]) -> Result<Adopted> {
    let adopted: Adopted = daemon.ask(&terms(from, &workspace(daemon)))?;
    run.becomes(&adopted.run.id);
    Ok(adopted)
}

fn opens(path: PathBuf) -> Step {
    Step::Open { path, how: Open::Read }
}

fn tally(outcome: Outcome) -> Result<BTreeMap<i32, u64>> {
    match outcome {
        Outcome::Tally(tally) => Ok(tally),
        other => bail!("{other:?}"),
    }
}

/// A child that has ended and that nobody has waited for.
fn dead_child(run: &mut Run) -> Result<()> {
    let Outcome::Process(child) = run.ask(&Step::Spin)? else { bail!("no child") };
    kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL)?;
    wait::until("the child has ended", wait::SOON, || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat"))?;
        Ok(stat.contains(") Z ").then_some(()))
    })
}

fn cgroup(process: u32) -> Result<String> {
    Ok(fs::read_to_string(format!("/proc/{process}/cgroup"))?)
}

/// P1, P2, P4: a process, its threads and all that have come from it are held to the policy from then on, nobody else is, and
/// all of them end with the run, also when another daemon has taken over.
#[test]
fn a_process_becomes_a_run_with_all_that_has_come_from_it() -> Result<()> {
    let mut daemon = Daemon::start()?;
    for uid in USERS {
        let (granted, denied) = (daemon.scene().granted(), daemon.scene().denied());
        let (mut run, mut beside) = (Run::outside(&daemon, uid)?, Run::outside(&daemon, uid)?);
        assert_eq!(run.errno(&opens(denied.clone()))?, 0, "uid {uid}: before");
        assert_eq!(run.errno(&Step::Park(5))?, 0);
        assert!(matches!(run.ask(&Step::Spin)?, Outcome::Process(_)));
        dead_child(&mut run)?;
        assert_eq!(run.errno(&Step::BeginLoop(vec![denied.clone()]))?, 0);
        let pid = run.tgid().to_string();
        let adopted = adopt(&daemon, &mut run, ["--pid", &pid])?;
        assert_eq!(adopted.processes.len(), 7, "uid {uid}: {adopted:?}");
        let view = run.view(&daemon)?;
        assert_eq!((view.phase.as_str(), view.tasks, view.frozen), ("active", 8, false));
        let issuer = view.issued_by.context("nobody has asked for it")?;
        let executable = issuer.executable.as_deref();
        assert_eq!((issuer.uid, executable), (0, Some(AGENTID)), "uid {uid}: an operator has");
        assert_ne!(issuer.tgid, run.tgid(), "uid {uid}");
        assert_eq!(run.errno(&opens(granted.clone()))?, 0, "uid {uid}");
        assert_eq!(run.errno(&opens(denied.clone()))?, EACCES, "uid {uid}");
        // The thread was allowed everything before, and nothing since.
        let before = tally(run.ask(&Step::Count)?)?;
        wait::until("the thread is denied", wait::SOON, || {
            let now = tally(run.ask(&Step::Count)?)?;
            Ok((now.get(&EACCES) > before.get(&EACCES)).then_some(()))
        })?;
        let after = tally(run.ask(&Step::EndLoop)?)?;
        assert_eq!(after.get(&0), before.get(&0), "uid {uid}: {before:?} {after:?}");
        assert_eq!(beside.errno(&opens(denied.clone()))?, 0, "uid {uid}: who is beside it");
        daemon.kill9()?;
        assert_eq!(run.errno(&opens(denied.clone()))?, EACCES, "uid {uid}: no daemon");
        daemon.start_again()?;
        assert_eq!(run.errno(&opens(denied))?, EACCES, "uid {uid}: another daemon");
        assert_eq!(daemon.revoke_and_kill(run.id())?.tasks, 7, "uid {uid}");
        assert!(!run.await_end()?.success());
        assert_eq!(beside.errno(&opens(granted))?, 0);
    }
    Ok(())
}

/// P1: nothing slips through that a cgroup starts as fast as it can while it becomes a run.
#[test]
fn a_cgroup_becomes_a_run_in_the_middle_of_a_storm() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::outside(&daemon, uid)?;
        let group = Group::of(&format!("storm-{uid}"), run.tgid())?;
        run.say(&Step::Storm { tasks: 4000, path: daemon.scene().denied() })?;
        let path = group.0.to_str().context("a path that is no text")?.to_owned();
        let adopted = adopt(&daemon, &mut run, ["--cgroup", &path])?;
        assert!(adopted.processes.contains(&run.tgid()), "uid {uid}: {adopted:?}");
        // Once it is denied something it is denied everything that the policy does not grant.
        let outcome = tally(run.answer(wait::SOON * 4)?)?;
        assert!(outcome.contains_key(&EACCES), "uid {uid}: {outcome:?}");
        let totals = run.totals(&daemon)?;
        let denied = outcome.get(&EACCES).copied().unwrap_or_default();
        assert!(totals.denied >= denied, "uid {uid}: {totals:?} {outcome:?}");
        let again = tally(run.ask(&Step::Storm { tasks: 12, path: daemon.scene().denied() })?)?;
        assert!(!again.contains_key(&0), "uid {uid}: {again:?}");
        daemon.revoke_and_kill(run.id())?;
        assert!(!run.await_end()?.success());
        wait::until("the cgroup is empty", wait::SOON, || {
            Ok((!group.is_populated()?).then_some(()))
        })?;
        wait::until("the run's own is gone", wait::SOON, || {
            let name = format!("agentid-{}", run.id());
            Ok((!group.0.join(name).exists()).then_some(()))
        })?;
    }
    Ok(())
}

/// P1: where processes lose their parents in the very moment, so that nobody can tell whether they have come from one that is to
/// become a run, it does not become one.
#[test]
fn no_process_becomes_a_run_among_some_that_lose_their_parents() -> Result<()> {
    let daemon = Daemon::shared()?;
    let workspace = workspace(&daemon);
    let uid = USER;
    let (mut run, mut beside) = (Run::outside(&daemon, uid)?, Run::outside(&daemon, uid)?);
    let group = Group::of("hopping", run.tgid())?;
    fs::write(group.0.join("cgroup.procs"), beside.tgid().to_string())?;
    let enough = daemon.scene().workspace().join("enough");
    let pid = run.tgid().to_string();
    assert!(matches!(beside.ask(&Step::Hop(enough.clone()))?, Outcome::Process(_)));
    let before = cgroup(run.tgid())?;
    let said = daemon.complaint(0, 1, &terms(["--pid", &pid], &workspace))?;
    let reasons = ["may have come from one of them", "do not come to rest"];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    assert_eq!(cgroup(run.tgid())?, before);
    assert_eq!(run.errno(&opens(daemon.scene().denied()))?, 0);
    fs::write(&enough, "")?;
    wait::until("they have ended", wait::SOON, || {
        let left = fs::read_to_string(group.0.join("cgroup.procs"))?;
        Ok((left.lines().count() == 2).then_some(()))
    })?;
    let adopted = adopt(&daemon, &mut run, ["--pid", &pid])?;
    assert_eq!(adopted.processes, [run.tgid()]);
    assert_eq!(run.errno(&opens(daemon.scene().denied()))?, EACCES);
    daemon.revoke_and_kill(run.id())?;
    assert!(!run.await_end()?.success());
    drop(beside);
    wait::until("the cgroup is empty", wait::SOON, || Ok((!group.is_populated()?).then_some(())))?;
    fs::remove_file(enough)?;
    Ok(())
}

/// P2, P10: who cannot become a run goes on as before, where it was, and the reason is told.
#[test]
fn what_cannot_become_a_run_is_left_alone() -> Result<()> {
    let daemon = Daemon::shared()?;
    let workspace = workspace(&daemon);
    for uid in USERS {
        let mut process = Run::outside(&daemon, uid)?;
        let mut run = Run::of(&daemon, uid)?;
        let pid = process.tgid().to_string();
        let before = cgroup(process.tgid())?;
        ptrace::seize(process.pid(), ptrace::Options::empty())?;
        let own = run.tgid().to_string();
        let suite = std::process::id().to_string();
        let cases = [
            (["--pid", &pid], "is traced by process"),
            (["--pid", &own], "belongs to a run already"),
            (["--pid", "1"], "is the first of the host"),
            (["--pid", &suite], "is the first of the host"),
            (["--pid", "4194304"], "there is no process 4194304"),
            (["--cgroup", CGROUPS], "there is no cgroup"),
            (["--cgroup", "/no-such"], "there is no cgroup"),
            (["--cgroup", "/a/../.."], "there is no cgroup"),
        ];
        for (from, expected) in cases {
            let said = daemon.complaint(0, 1, &terms(from, &workspace))?;
            assert!(said.contains(expected), "uid {uid}: {from:?}: {said}");
        }
        let said = daemon.complaint(USER, 1, &terms(["--pid", &pid], &workspace))?;
        assert!(said.contains("this is for operators"), "{said}");
        let said = daemon.complaint(0, 1, &terms(["--pid", &pid], "workspace=/no-such"))?;
        assert!(said.contains("no existing folder") || said.contains("traced"), "{said}");
        ptrace::detach(process.pid(), None).or_else(|errno| {
            // Only a stopped one can be let go.
            anyhow::ensure!(errno == nix::errno::Errno::ESRCH, "{errno}");
            ptrace::interrupt(process.pid())?;
            waitpid(process.pid(), None)?;
            Ok::<(), anyhow::Error>(ptrace::detach(process.pid(), None)?)
        })?;
        let said = daemon.complaint(0, 1, &terms(["--pid", &pid], "workspace=/no-such"))?;
        assert!(said.contains("no existing folder"), "{said}");
        assert_eq!(cgroup(process.tgid())?, before, "uid {uid}");
        assert_eq!(process.errno(&opens(daemon.scene().denied()))?, 0, "uid {uid}");
        assert_eq!(run.errno(&opens(daemon.scene().denied()))?, EACCES, "uid {uid}");
        daemon.revoke(run.id())?;
        assert_eq!(run.errno(&opens(daemon.scene().granted()))?, EPERM);
    }
    Ok(())
}

/// P2: a process that has its memory, its descriptors or its working folder in common with another one becomes a run with that one, or
/// not at all: the other one would act for it.
#[test]
fn who_shares_with_one_outside_does_not_become_a_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    let workspace = workspace(&daemon);
    let cases = [
        ("memory", "has the memory of process"),
        ("descriptors", "has the descriptors of process"),
        ("folders", "has the working folder and root of process"),
    ];
    for (uid, (what, expected)) in USERS.into_iter().flat_map(|uid| cases.map(|case| (uid, case))) {
        let mut command = Command::new(PROBE);
        command.args(["share", what]).uid(uid).gid(uid);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        let other = line.trim();
        let group = Group::of(&format!("share-{what}-{uid}"), process.id())?;
        let path = group.0.to_str().context("a path that is no text")?.to_owned();
        let said = daemon.complaint(0, 1, &terms(["--cgroup", &path], &workspace))?;
        assert!(said.contains(&format!("process {other} {expected}")), "uid {uid}: {said}");
        assert!(daemon.ps()?.is_empty(), "uid {uid}: {what}");
        // Together they may.
        fs::write(group.0.join("cgroup.procs"), other)?;
        let adopted: Adopted = daemon.ask(&terms(["--cgroup", &path], &workspace))?;
        assert_eq!(adopted.processes.len(), 2, "uid {uid}: {what}");
        daemon.revoke_and_kill(&adopted.run.id)?;
        assert!(!process.wait()?.success(), "uid {uid}: {what}");
        wait::until("the cgroup is empty", wait::SOON, || {
            let name = format!("agentid-{}", adopted.run.id);
            Ok((!group.is_populated()? && !group.0.join(name).exists()).then_some(()))
        })?;
    }
    Ok(())
}
