//! Deadlines while the host sleeps. A boot of its own, because not every host is to be put to sleep by a test, and because
//! what the kernel makes of it must not be in the way of others.

use std::{
    fs,
    time::{Duration, Instant},
};

use agentid_tests::{
    harness::{
        Daemon, Run, note,
        run::Terms,
        scene::{USER, USERS},
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Context as _, Result, bail};
use libc::EPERM;
use nix::time::{ClockId, clock_gettime};

/// The real-time clock that wakes the host, in whole seconds.
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
const SLEEPS: u64 = 6;
/// An emulator that has been woken by the clock before may wake at once, because of what is left of that.
const ATTEMPTS: usize = 5;
/// What runs have left that are over when the host wakes.
const LEFT: Duration = Duration::from_secs(4);
/// The least that the clock of a host that is awake must have stood still.
const ASLEEP: Duration = Duration::from_secs(3);

/// Puts the host to sleep, and returns when it is awake again.
fn sleep() -> Result<()> {
    let gap = || -> Result<Duration> {
        // In this order, so that the difference is never below what it was.
        let awake = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?) - awake)
    };
    let before = gap()?;
    for _ in 0..ATTEMPTS {
        fs::write(ALARM, "0").context("forget an earlier alarm")?;
        fs::write(ALARM, format!("+{SLEEPS}")).context("set the alarm")?;
        fs::write("/sys/power/state", "mem").context("go to sleep")?;
        if gap()? - before >= ASLEEP {
            return Ok(());
        }
    }
    bail!("the host slept {:?}", gap()? - before)
}

/// P5: the time that a host sleeps counts. A run whose deadline was then is denied its first operation, with the daemon there
/// or dead, and the other goes on with the time that it has left.
#[test]
fn the_time_that_a_host_sleeps_counts() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let mut long = Run::of(&daemon, uid)?;
        let mut short = Run::of(&daemon, uid)?;
        daemon.kill9()?;
        short.due_in(&daemon, LEFT)?;
        assert_eq!(short.errno(&read)?, 0, "uid {uid}: before");
        sleep()?;
        assert_eq!(short.errno(&read)?, EPERM, "uid {uid}: the first thing after");
        assert_eq!(long.errno(&read)?, 0, "uid {uid}");
        daemon.start_again()?;
        let end = wait::until("the end is noted", wait::SOON, || Ok(short.view(&daemon)?.end))?;
        assert_eq!(end.ending, "expired", "uid {uid}");

        // With the daemon asleep as well.
        let terms = Terms { uid, ttl: Some("4s"), ..Terms::default() };
        let mut short = Run::launch(&daemon, &terms)?;
        sleep()?;
        assert_eq!(short.errno(&read)?, EPERM, "uid {uid}: the first thing after");
        let end = wait::until("the end is noted", wait::SOON, || Ok(short.view(&daemon)?.end))?;
        assert_eq!(end.ending, "expired", "uid {uid}");
        assert_eq!(long.errno(&read)?, 0, "uid {uid}");
        assert_eq!(daemon.status()?.posture, "enforcing");
    }
    Ok(())
}

/// P4, P5: what only computes is killed by the kernel after a sleep as it is before one.
#[test]
fn a_spinner_dies_at_its_deadline_after_a_sleep() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let terms = Terms { policy: "killed", uid: USER, ..Terms::default() };
    let mut run = Run::launch(&daemon, &terms)?;
    // One for each processor.
    let spin = |run: &mut Run| match run.ask(&Step::Spin)? {
        Outcome::Process(process) => Ok(process),
        other => bail!("a spinner gave {other:?}"),
    };
    let spinners = [spin(&mut run)?, spin(&mut run)?];
    daemon.kill9()?;
    sleep()?;
    let begun = Instant::now();
    run.due_in(&daemon, Duration::from_secs(1))?;
    for process in spinners {
        let gone = || {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let lives =
                stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']));
            Ok((!lives).then_some(()))
        };
        wait::until("the spinner is gone", wait::SOON, gone)?;
    }
    note(format_args!("the spinners lived {:?}, and were to live 1 s", begun.elapsed()));
    drop(run);
    daemon.start_again()
}
