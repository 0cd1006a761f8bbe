//! Coming before other processes.
//!
//! A niceness counts among the tasks of one cgroup only (kernel/sched/fair.c: each group has a weight of its own), and a run
//! that computes is in another one. So whoever ends runs is scheduled before all that is not of real time, as long as that
//! takes little.

use std::{io, os::unix::thread::JoinHandleExt as _, thread::JoinHandle, time::Duration};

use rustix::{
    process::setpriority_process,
    time::{ClockId, clock_gettime},
};
use tracing::{debug, warn};

/// The highest priority that is none of real time.
const FIRST: i32 = -20;
/// Most of a processor that the daemon takes before others, in parts of 100: with more it is no longer a matter of a moment.
const MOST: u32 = 25;

/// Has this thread run before all that is not of real time, and if a host has no time for that in the group of the process,
/// before others of its cgroup. What it starts does not.
pub fn come_first() -> io::Result<()> {
    match schedule(libc::SCHED_RR, 1) {
        Ok(()) => Ok(()),
        Err(_) => Ok(setpriority_process(None, FIRST)?),
    }
}

/// The same of a process of ours, which has one thread and does nothing unless it is asked.
pub fn have_come_first(process: u32) -> io::Result<()> {
    let process = i32::try_from(process).map_err(io::Error::other)?;
    schedule_of(process, libc::SCHED_RR, 1)
}

/// The same of a thread of this process, from its first instruction on: one that has yet to say so of itself waits for its turn
/// behind all that computes.
pub fn have_thread_come_first<T>(thread: &JoinHandle<T>) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: whoever has its handle has neither joined nor left the thread, so that its ID is still its own.
    let errno =
        unsafe { libc::pthread_setschedparam(thread.as_pthread_t(), policy, &raw const param) };
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

fn schedule(policy: i32, priority: i32) -> io::Result<()> {
    schedule_of(0, policy, priority)
}

fn schedule_of(process: i32, policy: i32, priority: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: it takes plain integers, and changes nothing but how that thread is scheduled.
    if unsafe { libc::sched_setscheduler(process, policy, &raw const param) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the calling thread comes first, which it does unless it has taken much time of late.
#[derive(Debug, Default)]
pub struct Precedence {
    first: bool,
    refused: bool,
    /// Time that the thread had taken by the last look, and when that was.
    taken: Duration,
    at: Duration,
}

impl Precedence {
    /// Decides by what has been taken since the last time. To be called about once a second, by one thread.
    pub fn renew(&mut self) {
        let (taken, at) = (clock(ClockId::ThreadCPUTime), clock(ClockId::Monotonic));
        let wanted = is_little(taken.saturating_sub(self.taken), at.saturating_sub(self.at));
        (self.taken, self.at) = (taken, at);
        if wanted == self.first || self.refused {
            return;
        }
        let (policy, priority) = if wanted { (libc::SCHED_RR, 1) } else { (libc::SCHED_OTHER, 0) };
        match schedule(policy, priority) {
            Ok(()) => {
                self.first = wanted;
                debug!(first = wanted, "how the daemon is scheduled has changed");
            }
            Err(error) => {
                self.refused = true;
                warn!(
                    %error,
                    "the daemon cannot come before what runs compute (LimitRTPRIO=1): ending them takes longer"
                );
            }
        }
    }
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}

fn is_little(taken: Duration, of: Duration) -> bool {
    taken.saturating_mul(100) <= of.saturating_mul(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_first_with_a_quarter_of_a_processor_at_most() {
        let second = Duration::from_secs(1);
        assert!(is_little(Duration::ZERO, second));
        assert!(is_little(second / 4, second));
        assert!(!is_little(second / 4 + Duration::from_millis(1), second));
        assert!(is_little(Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn counts_what_this_thread_takes() {
        let mut precedence = Precedence::default();
        let begun = clock(ClockId::ThreadCPUTime);
        while clock(ClockId::ThreadCPUTime) < begun + Duration::from_millis(20) {}
        precedence.renew();
        assert!(precedence.taken >= begun + Duration::from_millis(20));
        assert!(precedence.at > Duration::ZERO);
    }
}
