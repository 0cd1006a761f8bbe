//! A run that is denied too much within a minute is ended.

use std::process::{Command, Stdio};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        cli::AGENTID,
        run::Terms,
        scene::{USER, USERS},
        view::{Changed, RunView},
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result, ensure};
use libc::{EACCES, EPERM};

const BUSYBOX: &str = "/bin/busybox";
/// What both policies bear, and one does not say so.
const BORNE: u64 = 20;
const POLICY: &str = r#"
    name = "limited"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write"]
    [limits]
    denials_per_minute = 20
"#;

fn scene() -> Result<Scene> {
    let limits = POLICY.find("[limits]").context("there are limits")?;
    let free = POLICY.replace("\"limited\"", "\"free\"");
    let free = free.get(..limits - 3).context("the policy is longer")?;
    let audited = POLICY.replace("\"limited\"", "\"lenient\"\nmode = \"audit\"");
    Scene::with(&[("limited", POLICY), ("free", free), ("lenient", &audited)])
}

fn launch(daemon: &Daemon, policy: &str, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy, uid, ..Terms::default() })
}

fn ask(daemon: &Daemon, run: &mut Run, times: u64, errno: i32) -> Result<()> {
    let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    (0..times).try_for_each(|_| {
        assert_eq!(run.errno(&step)?, errno);
        Ok(())
    })
}

/// Has a run be denied so much; the start of a program may have been denied something too.
fn deny(daemon: &Daemon, run: &mut Run, total: u64) -> Result<()> {
    let before = run.totals(daemon)?.denied;
    ask(daemon, run, total.checked_sub(before).context("more has been denied")?, EACCES)
}

/// P4, P7: more denials within a minute than the policy bears end the run and nobody else, and the record says why.
#[test]
fn ends_a_run_that_is_denied_too_much() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let granted = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let mut run = launch(&daemon, "limited", uid)?;
        let mut sibling = launch(&daemon, "limited", uid)?;
        let (mut free, mut audited) =
            (launch(&daemon, "free", uid)?, launch(&daemon, "lenient", uid)?);
        deny(&daemon, &mut sibling, BORNE)?;
        ask(&daemon, &mut free, 2 * BORNE, EACCES)?;
        ask(&daemon, &mut audited, 2 * BORNE, 0)?;
        assert_eq!(sibling.totals(&daemon)?.denied, BORNE, "uid {uid}");
        deny(&daemon, &mut run, BORNE)?;
        let last = Step::Open { path: daemon.scene().denied(), how: Open::Write };
        assert_eq!(run.errno(&last)?, EACCES, "uid {uid}");
        let end = wait::until("the run is ended", wait::SOON, || Ok(run.view(&daemon)?.end))?;
        let reason = end.reason.context("no reason is noted")?;
        assert_eq!((end.ending.as_str(), end.by_uid), ("limit_exceeded", None), "uid {uid}");
        assert_eq!(reason, "21 denials within a minute, and its policy bears 20", "uid {uid}");
        assert_eq!(run.errno(&granted)?, EPERM, "uid {uid}");
        for other in [&mut sibling, &mut free, &mut audited] {
            assert_eq!(other.errno(&granted)?, 0, "uid {uid}");
        }
    }
    Ok(())
}

/// P3: who reads what the kernel says of all processes is not told all of it, and that is no denial: no limit counts it.
#[test]
fn a_look_at_the_processes_of_others_is_no_denial() -> Result<()> {
    const WATCHER: &str = r#"
        name = "watcher"
        ttl = "20m"
        [[file]]
        paths = ["/bin/busybox"]
        allow = ["read", "exec"]
        [[file]]
        paths = ["/proc/*/stat"]
        allow = ["read"]
    "#;
    let daemon = Daemon::start_in(Scene::with(&[("watcher", WATCHER)])?)?;
    let other = daemon.tgid().context("the daemon is not running")?;
    let stats = [1, std::process::id(), other].map(|tgid| format!("/proc/{tgid}/stat"));
    let [first, suite, daemons] = stats.each_ref().map(String::as_str);
    let looks = [BUSYBOX, "cat", first, suite, daemons, first, suite, daemons];
    assert_eq!(denied(&daemon, "look", &looks)?, denied(&daemon, "nothing", &[BUSYBOX, "true"])?);
    Ok(())
}

/// How much a run of root's with such a task is denied until it ends well.
fn denied(daemon: &Daemon, task: &str, command: &[&str]) -> Result<u64> {
    let socket = daemon.scene().socket();
    let mut run = Command::new(AGENTID);
    run.arg("--socket").arg(socket).args(["run", "--policy", "watcher", "--agent", "probe"]);
    run.args(["--owner", "suite", "--task", task, "--"]).args(command).stdin(Stdio::null());
    let done = run.output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "{task}: {}: {said}", done.status);
    wait::until("the run has ended", wait::SOON, || {
        let all: Vec<RunView> = daemon.ask(&["ps", "-a"])?;
        let ended = all.iter().find(|run| run.task == task && run.end.is_some());
        let shown = ended.map(|run| daemon.show(&run.id)).transpose()?;
        Ok(shown.and_then(|run| run.totals).map(|totals| totals.denied))
    })
}

/// P4: what a run is denied because it is suspended is not its own doing.
#[test]
fn bears_what_is_denied_while_a_run_is_suspended() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let granted = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let mut held = launch(&daemon, "limited", USER)?;
    let mut other = launch(&daemon, "limited", USER)?;
    let _: Changed = daemon.ask(&["suspend", "--no-freeze", held.id()])?;
    ask(&daemon, &mut held, 2 * BORNE, EPERM)?;
    // When this one is ended, the daemon has looked at both.
    ask(&daemon, &mut other, BORNE + 1, EACCES)?;
    wait::until("the other run is ended", wait::SOON, || Ok(other.view(&daemon)?.end))?;
    assert_eq!(held.view(&daemon)?.phase, "suspended");
    let _: Changed = daemon.ask(&["resume", held.id()])?;
    assert_eq!(held.errno(&granted)?, 0);
    ask(&daemon, &mut held, BORNE + 1, EACCES)?;
    let end =
        wait::until("it is ended for what came after", wait::SOON, || Ok(held.view(&daemon)?.end))?;
    assert_eq!(end.ending, "limit_exceeded");
    Ok(())
}
