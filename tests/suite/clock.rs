//! Deadlines are the boot clock's, whatever becomes of the clock on the wall.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::{USER, USERS},
        table::Table,
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::EPERM;
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime, clock_settime},
};

const HOUR: i64 = 3600;
/// Less than an hour, so that a wall clock that is put forward is past it.
const LONG: &str = "30m";
/// Long enough for a launch and for a daemon to start.
const LEFT: Duration = Duration::from_secs(3);
/// What lies between two looks at two clocks in a guest that has much to do.
const SLACK_MS: u64 = 2000;

/// The wall clock at another time, for as long as this lives.
struct Stepped(i64);

impl Stepped {
    fn by(seconds: i64) -> Result<Self> {
        step(seconds)?;
        Ok(Self(seconds))
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        if let Err(error) = step(-self.0) {
            eprintln!("the clock is not as it was: {error:#}");
        }
    }
}

fn step(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let then = now + TimeSpec::new(seconds, 0);
    clock_settime(ClockId::CLOCK_REALTIME, then).context("failed to set the clock")
}

fn wall_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn boot_ns() -> Result<u64> {
    Ok(u64::try_from(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).as_nanos())?)
}

/// How much time a run is said to have left, in milliseconds.
fn left_ms(daemon: &Daemon, run: &Run) -> Result<u64> {
    Ok(run.view(daemon)?.deadline_ms.saturating_sub(wall_ms()?))
}

/// Opens a granted file until it is denied, which must not be before the deadline of the kernel's table, and at once after
/// it.
fn granted_until_due(run: &mut Run, step: &Step) -> Result<()> {
    let deadline = Table::open()?.find(run.id())?.1.deadline;
    loop {
        let begun = boot_ns()?;
        let errno = run.errno(step)?;
        if boot_ns()? < deadline {
            assert_eq!(errno, 0, "before the deadline");
        } else if begun > deadline {
            assert_eq!(errno, EPERM, "after the deadline");
            return Ok(());
        }
        wait::moment();
    }
}

/// P5: a step of the wall clock by an hour, forward or back, moves no deadline, with the daemon there and with it dead; what is
/// told of the time that is left stays what it was, and the record of one that ends meanwhile stays.
#[test]
fn a_step_of_the_wall_clock_moves_no_deadline() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for (uid, seconds) in USERS.into_iter().flat_map(|uid| [(uid, HOUR), (uid, -HOUR)]) {
        let terms = Terms { uid, ttl: Some(LONG), ..Terms::default() };
        let (mut long, mut short) = (Run::launch(&daemon, &terms)?, Run::launch(&daemon, &terms)?);
        let deadline = Table::open()?.find(long.id())?.1.deadline;
        let (before, since) = (left_ms(&daemon, &long)?, Instant::now());
        let stepped = Stepped::by(seconds)?;
        assert_eq!(long.errno(&read)?, 0, "uid {uid}: {seconds} s");
        let same_time_left = |daemon: &Daemon| {
            let left = left_ms(daemon, &long)? + u64::try_from(since.elapsed().as_millis())?;
            assert!(
                left.abs_diff(before) < SLACK_MS,
                "{left} ms after {seconds} s, {before} before"
            );
            assert_eq!(long.view(daemon)?.phase, "active");
            assert_eq!(Table::open()?.find(long.id())?.1.deadline, deadline);
            Ok::<_, anyhow::Error>(())
        };
        same_time_left(&daemon)?;
        daemon.kill9()?;
        short.due_in(&daemon, LEFT)?;
        granted_until_due(&mut short, &read)?;
        daemon.start_again()?;
        same_time_left(&daemon)?;
        let end = wait::until("the end is noted", wait::SOON, || Ok(short.view(&daemon)?.end))?;
        assert_eq!(end.ending, "expired", "uid {uid}: {seconds} s");
        drop(stepped);
        same_time_left(&daemon)?;
        assert_eq!(short.view(&daemon)?.end, Some(end));
        assert_eq!(long.errno(&read)?, 0, "uid {uid}: {seconds} s");
        assert_eq!(short.errno(&read)?, EPERM, "uid {uid}: {seconds} s");
    }
    Ok(())
}

/// P5: the daemon ends on time what ends while the wall clock goes wrong.
#[test]
fn a_run_ends_on_time_while_the_wall_clock_is_set() -> Result<()> {
    let daemon = Daemon::shared()?;
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for seconds in [HOUR, -HOUR] {
        let terms = Terms { uid: USER, ttl: Some("5s"), ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        let _stepped = Stepped::by(seconds)?;
        granted_until_due(&mut run, &read)?;
        let end = wait::until("the end is noted", wait::SOON, || Ok(run.view(&daemon)?.end))?;
        assert_eq!(end.ending, "expired", "{seconds} s");
    }
    Ok(())
}
