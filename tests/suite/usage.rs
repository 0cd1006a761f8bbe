//! A run uses no more of the host than its policy says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        cli::output,
        run::Terms,
        scene::{PROBE, USER, USERS},
        view::{Changed, Limits, Usage},
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, EAGAIN, EPERM, SIGKILL};

const CGROUPS: &str = "/sys/fs/cgroup";
const GROUPS: &str = "/sys/fs/cgroup/agentid";
const MIB: u64 = 1 << 20;

/// A policy of this name, with these limits.
fn policy(name: &str, limits: &str) -> String {
    let text = Scene::POLICY.replace("\"fixture\"", &format!("\"{name}\""));
    text.replace("on_end = \"deny\"", "on_end = \"kill\"") + limits
}

/// The same of runs that delegate, in audit mode, so that what they execute on the way needs no rule.
fn above(name: &str, limits: &str) -> String {
    policy(name, limits).replace("on_end", "mode = \"audit\"\n        on_end")
        + "\n[delegate]\nto = ['less', 'free']\n"
}

fn scene() -> Result<Scene> {
    let all = "[limits]\nmemory = '64MiB'\ntasks = 20\ncpu = '150%'\n";
    Scene::with(&[
        ("limited", &policy("limited", all)),
        ("above", &above("above", "[limits]\ntasks = 20\n")),
        ("less", &policy("less", "[limits]\ntasks = 8\n")),
        ("free", &policy("free", "")),
    ])
}

fn launch(daemon: &Daemon, policy: &str, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy, uid, ..Terms::default() })
}

fn below(daemon: &Daemon, policy: &str, uid: u32, parent: &str) -> Result<Run> {
    let parent = Some(parent);
    Run::launch(daemon, &Terms { policy, uid, parent, ..Terms::default() })
}

/// The cgroup of a run that is below no other.
fn group(id: &str) -> PathBuf {
    Path::new(GROUPS).join(format!("agentid-{id}"))
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Where a process is.
fn place(process: u32) -> Result<PathBuf> {
    let text = read(Path::new(&format!("/proc/{process}/cgroup")))?;
    let place = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new(CGROUPS).join(place.context("it is in no cgroup")?))
}

fn usage(daemon: &Daemon, id: &str) -> Result<Usage> {
    daemon.show(id)?.usage.context("it is not told what the run uses")
}

fn await_gone(group: &Path) -> Result<()> {
    wait::until("the cgroup is removed", wait::SOON, || Ok((!group.exists()).then_some(())))
}

/// Ends a run, whose cgroup goes with it.
fn end(daemon: &Daemon, run: &Run) -> Result<()> {
    daemon.revoke_and_kill(run.id())?;
    await_gone(&group(run.id()))
}

/// P4: a run that starts processes without end has as many as its policy says; the run beside it and the host go on.
#[test]
fn a_run_that_forks_without_end_has_as_many_tasks_as_its_policy_says() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (mut run, mut beside) =
            (launch(&daemon, "limited", uid)?, launch(&daemon, "limited", uid)?);
        assert_eq!(run.errno(&Step::Park(200))?, EAGAIN, "uid {uid}");
        assert_eq!(usage(&daemon, run.id())?.tasks, Some(20), "uid {uid}");
        assert_eq!(run.view(&daemon)?.tasks, 20, "uid {uid}: what the tags say");
        assert_eq!(beside.errno(&Step::Park(10))?, 0, "uid {uid}: who is beside it");
        let mut free = launch(&daemon, "free", uid)?;
        assert_eq!(free.errno(&Step::Park(30))?, 0, "uid {uid}: a policy without limits");
        assert!(Command::new(PROBE).arg("nothing").status()?.success(), "the host");
        daemon.revoke_and_kill(free.id())?;
        end(&daemon, &run)?;
        assert_eq!(beside.errno(&Step::Park(9))?, 0, "uid {uid}");
        end(&daemon, &beside)?;
    }
    Ok(())
}

/// P4: a run whose memory is full loses the process that fills it, and goes on; the run beside it loses none.
#[test]
fn a_run_that_fills_its_memory_loses_the_process_that_does() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (mut run, mut beside) =
            (launch(&daemon, "limited", uid)?, launch(&daemon, "limited", uid)?);
        assert_eq!(run.errno(&Step::Fill(16))?, 0, "uid {uid}: what it may have");
        assert_eq!(beside.errno(&Step::Park(3))?, 0, "uid {uid}");
        let outcome = run.ask(&Step::Fill(256))?;
        assert_eq!(outcome, Outcome::Killed(SIGKILL), "uid {uid}: more than that");
        assert_eq!(run.errno(&Step::Ping)?, 0, "uid {uid}: it goes on");
        let used = usage(&daemon, run.id())?;
        assert_eq!(used.killed, Some(1), "uid {uid}: {used:?}");
        assert!(used.memory <= Some(64 * MIB) && used.memory_peak <= Some(64 * MIB), "{used:?}");
        assert!(used.memory_peak > Some(32 * MIB), "uid {uid}: {used:?}");
        let told = daemon.show_text(run.id())?;
        assert!(told.contains("1 killed because memory was full"), "{told}");
        assert_eq!(
            (beside.view(&daemon)?.tasks, usage(&daemon, beside.id())?.killed),
            (4, Some(0))
        );
        assert_eq!(beside.errno(&Step::Fill(16))?, 0, "uid {uid}: who is beside it");
        end(&daemon, &run)?;
        end(&daemon, &beside)?;
    }
    Ok(())
}

/// P6, P9: what the policy says is what the kernel has, from before the run's first task on, for the next daemon and for
/// another version of the policy too, and it is told.
#[test]
fn what_the_policy_says_is_what_the_kernel_has() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (run, free) = (launch(&daemon, "limited", uid)?, launch(&daemon, "free", uid)?);
        let group = group(run.id());
        let has = |file: &str| read(&group.join(file));
        let all = || {
            let files =
                ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"];
            files.into_iter().map(has).collect::<Result<Vec<_>>>()
        };
        let memory = (64 * MIB).to_string();
        let expected = [memory.as_str(), "0", "0", "20", "150000 100000"];
        assert_eq!(all()?, expected, "uid {uid}");
        assert_eq!(place(run.tgid())?, group.join("own"), "uid {uid}");
        assert_eq!(place(free.tgid())?, place(std::process::id())?, "uid {uid}: without limits");
        let limits = Limits { memory: Some(64 * MIB), tasks: Some(20), cpu: Some(150) };
        assert_eq!((run.view(&daemon)?.limits, free.view(&daemon)?.limits), (Some(limits), None));
        let story = daemon.story(run.id())?;
        assert!(story.contains("within memory 64MiB, tasks 20, cpu 150%"), "{story}");

        daemon.kill9()?;
        daemon.start_again()?;
        assert_eq!(run.view(&daemon)?.limits, Some(limits), "uid {uid}: the next daemon");
        assert_eq!(usage(&daemon, run.id())?.tasks, Some(1), "uid {uid}");
        assert_eq!(all()?, expected, "uid {uid}");

        let file = |name: &str| daemon.scene().path().join(format!("policies/{name}.toml"));
        fs::write(file("limited"), policy("limited", "[limits]\ntasks = 9\n"))?;
        fs::write(file("free"), policy("free", "[limits]\ntasks = 9\n"))?;
        daemon.reload()?;
        wait::until("the new version is in force", wait::SOON, || {
            Ok(daemon.story(free.id())?.contains("policy stays").then_some(()))
        })?;
        wait::until("so it is for the other run", wait::SOON, || {
            Ok(daemon.story(run.id())?.contains("policy renewed").then_some(()))
        })?;
        assert_eq!(all()?, ["max", "max", "0", "9", "max 100000"], "uid {uid}");
        let limits = Limits { memory: None, tasks: Some(9), cpu: None };
        assert_eq!((run.view(&daemon)?.limits, free.view(&daemon)?.limits), (Some(limits), None));
        let story = daemon.story(free.id())?;
        assert!(story.contains("what runs already is not brought below that"), "{story}");

        daemon.revoke_and_kill(free.id())?;
        end(&daemon, &run)?;
        fs::write(
            file("limited"),
            policy("limited", "[limits]\nmemory = '64MiB'\ntasks = 20\ncpu = '150%'\n"),
        )?;
        fs::write(file("free"), policy("free", ""))?;
        daemon.stop()?;
        daemon.start_again()?;
    }
    Ok(())
}

/// P2: a run does not leave its cgroup and does not change it, as root neither: its rules do not name these files, and no
/// task of it is started elsewhere.
#[test]
fn a_run_stays_within_its_limits() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let mut run = launch(&daemon, "limited", uid)?;
        let group = group(run.id());
        let files = ["memory.max", "pids.max", "cpu.max", "cgroup.procs", "cgroup.subtree_control"];
        let own = files.map(|file| group.join(file));
        let others = [group.join("own/cgroup.procs"), Path::new(CGROUPS).join("cgroup.procs")];
        for path in own.into_iter().chain(others) {
            let step = Step::Open { path: path.clone(), how: Open::Write };
            assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {}", path.display());
        }
        for to in [CGROUPS, GROUPS] {
            assert_eq!(run.errno(&Step::Leave(to.into()))?, EPERM, "uid {uid}: into {to}");
        }
        assert_eq!(place(run.tgid())?, group.join("own"), "uid {uid}");
        end(&daemon, &run)?;
    }
    Ok(())
}

/// P4: what is below a run counts for it as well, whether it has limits of its own or not, and whether the run has
/// delegated it or somebody else has launched it there.
#[test]
fn what_is_below_a_run_is_within_its_limits() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let run = launch(&daemon, "above", uid)?;
        let (mut less, mut free) =
            (below(&daemon, "less", uid, run.id())?, below(&daemon, "free", uid, run.id())?);
        let inner = group(run.id()).join(format!("agentid-{}", less.id()));
        assert_eq!(place(less.tgid())?, inner.join("own"), "uid {uid}");
        assert_eq!(place(free.tgid())?, place(run.tgid())?, "uid {uid}");
        assert_eq!(less.errno(&Step::Park(50))?, EAGAIN, "uid {uid}: by its own limit");
        let tasks = |id: &str| Ok::<_, anyhow::Error>(usage(&daemon, id)?.tasks);
        assert_eq!((tasks(less.id())?, tasks(run.id())?), (Some(8), Some(10)), "uid {uid}");
        assert_eq!(free.errno(&Step::Park(50))?, EAGAIN, "uid {uid}: by that of the run above");
        assert_eq!(tasks(run.id())?, Some(20), "uid {uid}");
        daemon.revoke_and_kill(less.id())?;
        await_gone(&inner)?;
        assert_eq!(run.view(&daemon)?.phase, "active", "uid {uid}");
        end(&daemon, &run)?;

        let mut last = Run::delegated(&daemon, uid, &["above", "less"], "spawn")?;
        let view = last.view(&daemon)?;
        let outer = group(view.above.first().context("it is below none")?);
        assert_eq!(
            place(find(&outer, last.id())?)?,
            outer.join(format!("agentid-{}/own", last.id()))
        );
        assert_eq!(last.errno(&Step::Park(50))?, EAGAIN, "uid {uid}: delegated");
        daemon.revoke_and_kill(last.id())?;
        await_gone(&outer)?;
    }
    Ok(())
}

/// A process of a run below another.
fn find(outer: &Path, id: &str) -> Result<u32> {
    let processes = read(&outer.join(format!("agentid-{id}/own/cgroup.procs")))?;
    Ok(processes.lines().next().context("it is not there")?.parse()?)
}

/// P4: a run with limits stands still in its own cgroup, and goes on there.
#[test]
fn a_run_with_limits_stands_still_and_goes_on() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let mut run = launch(&daemon, "limited", uid)?;
        let events = group(run.id()).join("cgroup.events");
        let _: Changed = daemon.ask(&["suspend", run.id()])?;
        wait::until("it stands still", wait::SOON, || {
            Ok(read(&events)?.lines().any(|line| line == "frozen 1").then_some(()))
        })?;
        assert_eq!(place(run.tgid())?, group(run.id()).join("own"), "uid {uid}");
        let _: Changed = daemon.ask(&["resume", run.id()])?;
        assert_eq!(run.errno(&Step::Ping)?, 0, "uid {uid}");
        end(&daemon, &run)?;
    }
    Ok(())
}

/// A cgroup with a process in it, below which the kernel therefore limits nothing.
struct Occupied {
    group: PathBuf,
    process: Child,
}

impl Occupied {
    fn new() -> Result<Self> {
        let group = Path::new(CGROUPS).join("occupied");
        fs::create_dir(&group)?;
        let process = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn()?;
        fs::write(group.join("cgroup.procs"), process.id().to_string())?;
        Ok(Self { group, process })
    }

    fn leave(&mut self) -> Result<()> {
        Ok(fs::write(Path::new(CGROUPS).join("cgroup.procs"), self.process.id().to_string())?)
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait().map(drop));
        let removed = || {
            fs::remove_dir(self.group.join("agents"))?;
            fs::remove_dir(&self.group)
        };
        if let Err(error) = ended.and_then(|()| removed()) {
            eprintln!("{} stays: {error}", self.group.display());
        }
    }
}

/// P9: where a run cannot be limited as its policy says it is not launched, the reason is told, and nothing is left.
#[test]
fn is_not_launched_where_it_cannot_be_limited() -> Result<()> {
    let mut occupied = Occupied::new()?;
    let scene = scene()?;
    scene.set("limited_runs", Some("/occupied/agents"))?;
    let daemon = Daemon::start_in(scene)?;
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    let terms =
        ["run", "--agent", "probe", "--owner", "suite", "--task", "test", "--param", &workspace];
    let command = [&terms[..], &["--policy", "limited", "--", PROBE, "nothing"]].concat();
    for uid in USERS {
        let said = daemon.complaint(uid, 125, &command)?;
        for part in [
            "a run of policy \"limited\" cannot be held to its limits",
            "controller `memory` cannot be enabled below cgroup /occupied",
            "`limited_runs` in agentid.toml",
        ] {
            assert!(said.contains(part), "uid {uid}: {said}");
        }
        assert!(daemon.ps()?.is_empty(), "uid {uid}");
        let free = launch(&daemon, "free", uid)?;
        daemon.revoke_and_kill(free.id())?;
    }
    let none = || Ok((folders(&occupied.group)? == 0).then_some(()));
    wait::until("nothing is left", wait::SOON, none)?;
    occupied.leave()?;
    let run = launch(&daemon, "limited", USER)?;
    assert!(place(run.tgid())?.starts_with(occupied.group.join("agents")));
    daemon.revoke_and_kill(run.id())?;
    await_gone(&occupied.group.join(format!("agents/agentid-{}", run.id())))?;
    drop(daemon);
    Ok(())
}

fn folders(group: &Path) -> Result<usize> {
    let mut folders = 0;
    for entry in fs::read_dir(group)? {
        folders += usize::from(entry?.file_type()?.is_dir());
    }
    Ok(folders)
}

/// P9: what runs already is not brought below limits, and stays as it was.
#[test]
fn what_runs_already_is_not_said_to_be_limited() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let mut process = Run::outside(&daemon, uid)?;
        let above = launch(&daemon, "above", uid)?;
        let (pid, before) = (process.tgid().to_string(), place(process.tgid())?);
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        let terms =
            ["--agent", "probe", "--owner", "suite", "--task", "test", "--param", &workspace];
        for more in [&["--policy", "limited"][..], &["--policy", "free", "--parent", above.id()]] {
            let command = [&["adopt", "--pid", &pid][..], &terms, more].concat();
            let said = daemon.complaint(0, 1, &command)?;
            assert!(said.contains("what runs already is not brought below that"), "{said}");
        }
        assert_eq!(place(process.tgid())?, before, "uid {uid}");
        assert_eq!(process.errno(&Step::Park(30))?, 0, "uid {uid}");
        end(&daemon, &above)?;
    }
    Ok(())
}

/// P4: a hundred runs with limits leave no cgroup behind.
#[test]
fn a_hundred_runs_leave_no_cgroup() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    for _ in 0..100 {
        let mut command = daemon.agentid();
        command.args(["run", "--policy", "limited", "--agent", "probe", "--owner", "suite"]);
        command.args(["--task", "test", "--param", &workspace, "--", PROBE, "nothing"]);
        output(&mut command, &[0])?;
    }
    let none = || Ok((folders(Path::new(GROUPS))? == 0).then_some(()));
    wait::until("no cgroup is left", wait::SOON, none)
}
