//! The daemon and its canary are out of a run's reach: threat A-5.

use std::{fs, os::fd::AsRawFd as _};

use agentid_tests::{
    attack::{Attempt, Management, Means, Owner},
    harness::{
        Attacker,
        adjust::canary_of,
        kernel::release,
        scene::{USER, USERS},
        taken::descriptor_of,
        wait,
    },
};
use anyhow::{Context as _, Result, bail, ensure};

use crate::stage::{Life, Stage};

/// What the daemon says of a canary that does not answer.
const REPLACED: &str = "the canary does not answer, and is replaced";
/// How often a canary may be replaced because it is slow.
const ATTEMPTS: u32 = 3;

/// P6: neither root nor the user in a run kills, stops, traces or opens up the daemon or its canary.
#[test]
fn a_run_does_not_reach_the_daemon() -> Result<()> {
    let mut stage = Stage::new()?;
    let daemon = stage.daemon.tgid().context("the daemon is not running")?;
    check_out_of_reach(&mut stage, daemon)?;
    check_canary_out_of_reach(&mut stage, daemon)?;
    assert_eq!(stage.daemon.status()?.posture, "enforcing");
    // What root does outside of any run is root's business.
    let kill = Attempt::Kill { tgid: daemon, signal: 0 };
    assert_eq!(stage.outside.errno(&kill)?, 0);
    assert_eq!(stage.outside.errno(&Attempt::Trace(daemon))?, 0);
    Ok(())
}

fn check_out_of_reach(stage: &mut Stage, target: u32) -> Result<()> {
    for attempt in upon_process(target) {
        for attacker in [&mut stage.root, &mut stage.user] {
            let errno = attacker.errno(&attempt)?;
            ensure!(errno == libc::EPERM, "{attempt:?} gave {errno}");
        }
        stage.check_held(&format!("{attempt:?}"))?;
    }
    Ok(())
}

/// The same of the canary. One that has no processor for long is replaced by the daemon, which then says so; one that has
/// been killed would have been silent for another reason.
fn check_canary_out_of_reach(stage: &mut Stage, daemon: u32) -> Result<()> {
    let canary = || wait::until("there is a canary", wait::SOON, || Ok(canary_of(daemon).ok()));
    let stalls = |log: &str| {
        let told = |line: &&str| line.contains(REPLACED) && line.contains("timed out");
        log.lines().filter(told).count()
    };
    for _ in 0..ATTEMPTS {
        let before = stalls(&stage.daemon.log());
        let target = canary()?;
        let checked = check_out_of_reach(stage, target);
        if canary()? == target {
            return checked;
        }
        let log = stage.daemon.log();
        ensure!(stalls(&log) > before, "the canary is another one: {checked:?}: {log}");
        eprintln!("the canary was slow, and is another one: {checked:?}");
    }
    bail!("there was another canary {ATTEMPTS} times")
}

/// P6: SIGKILL to the daemon by root outside of any run works, and loosens nothing.
#[test]
fn a_killed_daemon_leaves_its_runs_held() -> Result<()> {
    let mut stage = Stage::new()?;
    let daemon = stage.daemon.tgid().context("the daemon is not running")?;
    let canary = canary_of(daemon)?;
    stage.in_life_and_death(|stage, life| {
        stage.check_held(&format!("daemon {life:?}"))?;
        let gone = stage.outside.errno(&Attempt::Kill { tgid: daemon, signal: 0 })?;
        assert_eq!(gone, if life == Life::Alive { 0 } else { libc::ESRCH });
        Ok(())
    })?;
    // The canary ends with its daemon.
    let canary = format!("/proc/{canary}");
    wait::until("the canary is gone", wait::SOON, || Ok((!fs::exists(&canary)?).then_some(())))?;
    stage.daemon.start_again()?;
    stage.check_held("another daemon")?;
    assert_eq!(stage.daemon.status()?.posture, "enforcing");
    Ok(())
}

/// P2: no file sends a signal to a process outside of the run for it, whether the run makes that process the owner or finds
/// it to be; to itself a process has them sent, and outside of any run everybody does.
#[test]
fn no_file_signals_others_for_a_run() -> Result<()> {
    let mut stage = Stage::new()?;
    for uid in USERS {
        let mut victim = Attacker::outside(uid)?;
        let attacker = if uid == USER { &mut stage.user } else { &mut stage.root };
        for way in Owner::ALL {
            let attempt = Attempt::SignalByFile { tgid: victim.tgid(), way };
            assert_eq!(attacker.errno(&attempt)?, libc::EPERM, "uid {uid}: {attempt:?}");
        }
        assert_eq!(attacker.errno(&Attempt::SignalOneself)?, 0, "uid {uid}");
        // A file that both have: its owner was made by somebody who may.
        let input = descriptor_of(attacker.tgid(), libc::STDIN_FILENO)?;
        own(input.as_raw_fd(), victim.tgid())?;
        for means in Means::ALL {
            let attempt = Attempt::SignalOwner(means);
            assert_eq!(attacker.errno(&attempt)?, libc::EPERM, "uid {uid}: {attempt:?}");
        }
        own(input.as_raw_fd(), 0)?;
        let read = Attempt::Read(stage.daemon.scene().denied());
        assert_eq!(victim.errno(&read)?, 0, "uid {uid}: the other process");
        let attempt = Attempt::SignalByFile { tgid: victim.tgid(), way: Owner::Process };
        assert_eq!(stage.outside.errno(&attempt)?, 0, "uid {uid}: {attempt:?}");
        let stat = format!("/proc/{}/stat", victim.tgid());
        let ended = || Ok(fs::read_to_string(&stat)?.contains(") Z").then_some(()));
        wait::until("the signal arrives", wait::SOON, ended)?;
    }
    Ok(())
}

/// Makes a process the owner of a file, or nobody.
fn own(file: libc::c_int, tgid: u32) -> Result<()> {
    // SAFETY: takes plain integers.
    let done = unsafe { libc::fcntl(file, libc::F_SETOWN, tgid.cast_signed()) };
    ensure!(done == 0, "F_SETOWN: {}", std::io::Error::last_os_error());
    Ok(())
}

/// P2: how another process is run is not a run's to say: its limits, of which one kills, its priorities, its processors and
/// where its memory lies. Of its own it may say that, and others of each other.
#[test]
fn a_run_manages_no_other_process() -> Result<()> {
    let mut stage = Stage::new()?;
    for uid in USERS {
        let victim = Attacker::outside(uid)?;
        let attacker = if uid == USER { &mut stage.user } else { &mut stage.root };
        let own = attacker.tgid();
        for what in Management::ALL {
            let upon = |tgid| Attempt::Manage { tgid, what };
            assert_eq!(attacker.errno(&upon(victim.tgid()))?, libc::EPERM, "uid {uid}: {what:?}");
            assert_eq!(attacker.errno(&upon(own))?, 0, "uid {uid}: {what:?} of itself");
            assert_eq!(stage.outside.errno(&upon(victim.tgid()))?, 0, "uid {uid}: {what:?}");
        }
    }
    Ok(())
}

/// P3, P10: who has started a run is not made the parent of what he has not started, nor the tracer of the run, who would
/// take each stop for an end; within the run both is as usual, and outside of any run too.
#[test]
fn a_run_makes_nobody_outside_its_parent_or_its_tracer() -> Result<()> {
    let mut stage = Stage::new()?;
    for uid in USERS {
        let attacker = if uid == USER { &mut stage.user } else { &mut stage.root };
        assert_eq!(attacker.errno(&Attempt::BeTraced)?, libc::EPERM, "uid {uid}");
        assert_eq!(attacker.errno(&Attempt::StartSibling)?, libc::EPERM, "uid {uid}");
        assert_eq!(attacker.errno(&Attempt::TraceChild)?, 0, "uid {uid}: its own");
        let mut outside = Attacker::outside(uid)?;
        assert_eq!(outside.errno(&Attempt::TraceChild)?, 0, "uid {uid}: outside");
        assert_eq!(outside.errno(&Attempt::StartSibling)?, 0, "uid {uid}: outside");
    }
    Ok(())
}

fn upon_process(tgid: u32) -> Vec<Attempt> {
    vec![
        Attempt::Kill { tgid, signal: libc::SIGSTOP },
        Attempt::PidfdKill { tgid, signal: libc::SIGSTOP },
        Attempt::Trace(tgid),
        Attempt::ReadMemory(tgid),
        Attempt::TakeDescriptor(tgid),
        Attempt::Kill { tgid, signal: libc::SIGKILL },
        Attempt::PidfdKill { tgid, signal: libc::SIGKILL },
    ]
}

/// P2: of the insides of processes that are not its own procfs shows a run nothing, also where its rules let it read all of
/// `/proc`, and what is reached by way of them may be read by another. One exception is the kernel's.
#[test]
fn procfs_shows_a_run_the_insides_of_its_own_processes_alone() -> Result<()> {
    let mut stage = Stage::new()?;
    for uid in USERS {
        let mut victim = Attacker::outside(uid)?;
        let attacker = if uid == USER { &mut stage.user } else { &mut stage.root };
        let own = attacker.tgid();
        for name in ["environ", "mem", "maps", "exe", "root/usr/bin/agentid-attacker"] {
            let of = |tgid: u32| Attempt::Read(format!("/proc/{tgid}/{name}").into());
            let errno = attacker.errno(&of(victim.tgid()))?;
            // Newer kernels let whoever has CAP_PERFMON or CAP_SYS_ADMIN, which this policy grants, read what they have once refused
            // by the hook (kernel/fork.c: `may_access_mm`).
            if uid == 0 && release()? > (6, 12) && matches!(name, "environ" | "maps") {
                assert_eq!(errno, 0, "{name}: the README says otherwise");
                continue;
            }
            assert!(matches!(errno, libc::EACCES | libc::EPERM), "uid {uid}: {name} gave {errno}");
            assert_eq!(attacker.errno(&of(own))?, 0, "uid {uid}: its own {name}");
            assert_eq!(stage.outside.errno(&of(victim.tgid()))?, 0, "{name}");
        }
        let read = Attempt::Read(stage.daemon.scene().denied());
        assert_eq!(victim.errno(&read)?, 0, "uid {uid}: the other process");
    }
    Ok(())
}
