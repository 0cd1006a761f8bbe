//! Coming before other processes.

use std::io;

use rustix::process::setpriority_process;

/// The highest priority that is none of real time.
const FIRST: i32 = -20;

/// Has this thread, and those that it starts, run before all that is not of real time. A priority alone counts among the processes of one cgroup, and
/// among them not at once.
pub fn come_first() -> io::Result<()> {
    let least = libc::sched_param { sched_priority: 1 };
    // SAFETY: it takes plain integers, and changes nothing but how this thread is scheduled.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const least) } == 0 {
        return Ok(());
    }
    // A host may have no time for that in the group of the process.
    Ok(setpriority_process(None, FIRST)?)
}
