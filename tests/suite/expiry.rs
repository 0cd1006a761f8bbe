//! A run ends on time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentid_tests::{
    harness::{Daemon, Run, run::Terms, wait},
    step::{Open, Step},
};
use anyhow::Result;
use libc::EPERM;

/// Long enough for a launch.
const TTL: &str = "15s";
/// How long a run has left whose daemon is dead.
const LEFT: Duration = Duration::from_secs(2);
/// Deadlines are told in milliseconds of another clock than the one that they are kept in.
const SLACK: Duration = Duration::from_millis(100);

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Opens a granted file until it is denied, which must not be before the deadline, and at once after it.
fn granted_until(run: &mut Run, step: &Step, deadline: Duration) -> Result<()> {
    loop {
        let begun = now()?;
        let errno = run.errno(step)?;
        if now()? + SLACK < deadline {
            assert_eq!(errno, 0, "before the deadline");
        } else if begun > deadline + SLACK {
            assert_eq!(errno, EPERM, "after the deadline");
            return Ok(());
        }
        wait::moment();
    }
}

/// P5: the hooks themselves look at the clock.
#[test]
fn ends_on_time_while_the_daemon_is_dead() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let mut run = Run::of(&daemon, 0)?;
    daemon.kill9()?;
    assert_eq!(run.errno(&step)?, 0);
    let deadline = run.due_in(&daemon, LEFT)?;
    granted_until(&mut run, &step, deadline)?;
    daemon.start_again()?;
    assert_eq!(run.errno(&step)?, EPERM, "once the daemon is back");
    Ok(())
}

/// P5: the daemon notes the end and says so; another run of the policy goes on.
#[test]
fn is_shown_as_expired() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let mut other = Run::of(&daemon, 1000)?;
    let terms = Terms { uid: 1000, ttl: Some(TTL), ..Terms::default() };
    let mut run = Run::launch(&daemon, &terms)?;
    let deadline = Duration::from_millis(run.view(&daemon)?.deadline_ms);
    granted_until(&mut run, &step, deadline)?;
    let end = wait::until("the end is noted", wait::SOON, || Ok(run.view(&daemon)?.end))?;
    assert_eq!(end.ending, "expired");
    assert_eq!(other.errno(&step)?, 0);
    Ok(())
}
