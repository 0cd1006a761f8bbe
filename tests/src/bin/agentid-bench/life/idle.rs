//! Time in which the machine has nothing to do goes by on the clock that counts instructions, and is nobody's work.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{ForkResult, Pid, fork};

/// A process that computes whenever nobody else does, and so takes that time.
pub struct Idler {
    process: Pid,
    clock: ClockId,
}

/// A moment, and how much had been taken until then.
#[derive(Clone, Copy)]
pub struct Mark {
    at: Instant,
    taken: Duration,
}

impl Idler {
    pub fn start() -> Result<Self> {
        // SAFETY: this process has one thread.
        let process = match unsafe { fork() }? {
            ForkResult::Child => {
                let lowest = libc::sched_param { sched_priority: 0 };
                // SAFETY: plain system calls on this process.
                let failed = unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const lowest)
                };
                if failed == 0 {
                    loop {
                        std::hint::black_box(());
                    }
                }
                // SAFETY: ends the child and runs nothing of the parent's.
                unsafe { libc::_exit(1) }
            }
            ForkResult::Parent { child } => child,
        };
        Ok(Self { process, clock: clock_getcpuclockid(process)? })
    }

    pub fn mark(&self) -> Result<Mark> {
        let taken = Duration::from(clock_gettime(self.clock)?);
        Ok(Mark { at: Instant::now(), taken })
    }

    /// The instructions since then, those of the idler left out.
    pub fn since(&self, mark: Mark) -> Result<Duration> {
        let now = self.mark()?;
        let work = (now.at - mark.at).checked_sub(now.taken - mark.taken);
        work.context("more was taken than there was")
    }

    pub fn end(self) -> Result<()> {
        kill(self.process, Signal::SIGKILL)?;
        let status = waitpid(self.process, None)?;
        ensure!(status.pid() == Some(self.process), "the idler ended: {status:?}");
        Ok(())
    }
}
