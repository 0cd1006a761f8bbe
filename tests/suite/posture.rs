//! The posture says what is enforced, and what is lost has consequences.

use std::{fs, path::Path, process::Output};

use agentid_tests::{
    attack::Attempt,
    harness::{
        Attacker, Daemon, adjust::Frail, adjust::canary_of, attacker::ATTACKER, scene::USER, wait,
    },
};
use anyhow::{Context as _, Result};

/// Waits for what the daemon says of the host.
fn await_posture(daemon: &Daemon, posture: &str) -> Result<()> {
    let look = || Ok((daemon.status()?.posture == posture).then_some(()));
    wait::until(&format!("the posture is {posture}"), wait::SOON, look)
}

/// A run of the attacker, who has nothing to do and leaves.
fn launch(daemon: &Daemon) -> Result<Output> {
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    let mut command = daemon.agentid();
    command.args(["run", "--policy", "attacker", "--agent", "a", "--owner", "o", "--task", "t"]);
    Ok(command.args(["--param", &workspace, "--", ATTACKER]).output()?)
}

/// P9: pins that root outside of any run has moved away still hold; the posture says that they are not where they
/// should be, nothing is launched meanwhile, and it says so no more when they are back. When the programs are gone the posture is off, nothing is launched,
/// and what runs is killed although its policy would let it go on denied.
#[test]
fn moved_pins_are_shown_and_lost_enforcement_ends_the_runs() -> Result<()> {
    let scene = Attacker::scene()?;
    let frail = Frail::below(&scene)?;
    let daemon = Daemon::start_in(scene)?;
    assert_eq!(daemon.status()?.posture, "enforcing");
    let mut run = Attacker::inside(&daemon, USER)?;
    let denied = Attempt::Read(daemon.scene().denied());
    assert_eq!(run.errno(&denied)?, libc::EACCES);

    let mut outside = Attacker::outside(0)?;
    let elsewhere = daemon.scene().path().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    let away = Attempt::Move { from: frail.bpffs(), onto: elsewhere.clone() };
    assert_eq!(outside.errno(&away)?, 0);
    await_posture(&daemon, "degraded")?;
    assert_eq!(run.errno(&denied)?, libc::EACCES);
    assert_eq!(launch(&daemon)?.status.code(), Some(125), "something is missing");
    let back = Attempt::Move { from: elsewhere, onto: frail.bpffs() };
    assert_eq!(outside.errno(&back)?, 0);
    await_posture(&daemon, "enforcing")?;
    assert_eq!(launch(&daemon)?.status.code(), Some(0));
    assert_eq!(run.errno(&denied)?, libc::EACCES);

    frail.collapse()?;
    await_posture(&daemon, "off")?;
    run.await_end()?;
    let show = || daemon.show(run.id());
    let ended = || Ok(Some(show()?).filter(|view| view.phase == "ended"));
    let view = wait::until("the run has ended", wait::SOON, ended)?;
    assert_eq!(view.end.map(|end| end.ending).as_deref(), Some("enforcement_lost"));
    let refused = launch(&daemon)?;
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("this host does not enforce"), "{said}");

    frail.repair()?;
    drop(daemon);
    drop(frail);
    Ok(())
}

/// P4, P9: the canary comes before what runs compute, as the daemon does, which ends nothing while it waits for it.
#[test]
fn the_canary_comes_before_what_runs_compute() -> Result<()> {
    let daemon = Daemon::shared()?;
    let canary = canary_of(daemon.tgid().context("there is no daemon")?)?;
    let stat = fs::read_to_string(format!("/proc/{canary}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no name in the kernel's line on a process")?;
    // proc_pid_stat(5): the field `policy` is the 41st, and the third is the first behind the name.
    let policy = rest.split(' ').nth(41 - 3).context("a field is missing")?;
    assert_eq!(policy.parse::<i32>()?, libc::SCHED_RR);
    Ok(())
}

/// P9: a canary that has died is replaced, and says the truth; no run pays for it.
#[test]
fn a_dead_canary_is_replaced() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let tgid = daemon.tgid().context("the daemon is not running")?;
    let run = Attacker::inside(&daemon, USER)?;
    let mut outside = Attacker::outside(0)?;
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        let old = canary_of(tgid)?;
        assert_eq!(outside.errno(&Attempt::Kill { tgid: old, signal })?, 0);
        let another = || Ok(canary_of(tgid).ok().filter(|canary| *canary != old));
        wait::until("there is another canary", wait::SOON, another)?;
        assert!(!Path::new(&format!("/proc/{old}")).exists(), "the old canary is still there");
        await_posture(&daemon, "enforcing")?;
        assert_eq!(daemon.show(run.id())?.phase, "active");
    }
    Ok(())
}
