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
use anyhow::{Context as _, Result, bail, ensure};
use libc::EPERM;
use nix::time::{ClockId, clock_gettime};

/// The real-time clock that wakes the host, in whole seconds.
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
const SLEEPS: u64 = 6;
/// What runs have left that are over when the host wakes.
const LEFT: Duration = Duration::from_secs(4);
/// The least that the clock of a host that is awake must have stood still.
const ASLEEP: Duration = Duration::from_secs(3);

/// Puts the host to sleep, and returns when it is awake again. Once in a boot: from another sleep the emulator wakes at once.
fn sleep() -> Result<()> {
    let gap = || -> Result<Duration> {
        // In this order, so that the difference is never below what it was.
        let awake = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?) - awake)
    };
    let before = gap()?;
    fs::write(ALARM, "0").context("forget an earlier alarm")?;
    fs::write(ALARM, format!("+{SLEEPS}")).context("set the alarm")?;
    fs::write("/sys/power/state", "mem").context("go to sleep")?;
    let slept = gap()? - before;
    ensure!(slept >= ASLEEP, "the host slept {slept:?}");
    Ok(())
}

/// P4, P5: the time that a host sleeps counts, with the daemon dead as well. A run whose deadline was then is denied its first
/// operation after it, another goes on with the time that it has left, and what only computes is killed at its deadline as it
/// is before a sleep.
#[test]
fn the_time_that_a_host_sleeps_counts() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let pair = |uid| Ok::<_, anyhow::Error>((Run::of(&daemon, uid)?, Run::of(&daemon, uid)?));
    let mut runs = USERS.into_iter().map(pair).collect::<Result<Vec<_>>>()?;
    let terms = Terms { policy: "killed", uid: USER, ..Terms::default() };
    let mut busy = Run::launch(&daemon, &terms)?;
    // One for each processor.
    let mut spin = || match busy.ask(&Step::Spin)? {
        Outcome::Process(process) => Ok(process),
        other => bail!("a spinner gave {other:?}"),
    };
    let spinners = [spin()?, spin()?];
    daemon.kill9()?;
    for (short, _) in &mut runs {
        short.due_in(&daemon, LEFT)?;
        assert_eq!(short.errno(&read)?, 0, "before");
    }
    sleep()?;
    for (short, long) in &mut runs {
        assert_eq!(short.errno(&read)?, EPERM, "the first thing after");
        assert_eq!(long.errno(&read)?, 0, "who has time left");
    }
    let begun = Instant::now();
    busy.due_in(&daemon, Duration::from_secs(1))?;
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
    daemon.start_again()?;
    for (short, long) in &mut runs {
        let end = wait::until("the end is noted", wait::SOON, || Ok(short.view(&daemon)?.end))?;
        assert_eq!(end.ending, "expired");
        assert_eq!(long.errno(&read)?, 0);
    }
    assert_eq!(daemon.status()?.posture, "enforcing");
    Ok(())
}
