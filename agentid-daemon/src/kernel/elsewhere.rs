//! Hanging up where only others still have the sockets of a run that is over: it has passed them on, or its own processes
//! are gone.
//!
//! Who has a socket the kernel does not tell, so that the descriptors of all processes of the host are looked at, and seldom
//! (`supervisor::run::orphans`). What is found is ended as what a run's own process has ([`sockets`]), in a thread of
//! its own, which waits while whoever has a socket is in a call on it. A socket that waits for so long keeps no other: who
//! looks next leaves it out.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    process,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use agentid_common::{
    net::TCP,
    record::SocketLine,
    socket::{AF_INET, AF_INET6, AF_UNIX},
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tracing::{debug, warn};

use super::{
    freezer::Runs,
    pins::Pins,
    sockets::{self, HangUpError, SOCKETS, Sockets},
};

/// include/net/tcp_states.h
mod state {
    pub const ESTABLISHED: u16 = 1;
    pub const CLOSE: u16 = 7;
}

/// As many threads may wait for somebody at a time.
const MOST_WAITING: usize = 8;

/// The numbers of the sockets that such threads are at, and how many of them there are.
static AT_WORK: Mutex<AtWork> = Mutex::new(AtWork { threads: 0, sockets: BTreeSet::new() });

struct AtWork {
    threads: usize,
    sockets: BTreeSet<u64>,
}

fn at_work<T>(with: impl FnOnce(&mut AtWork) -> T) -> T {
    with(&mut AT_WORK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether somebody has this socket, and somebody else is or may come to be at its other end.
pub fn is_held(line: &SocketLine) -> bool {
    let is_tcp = matches!(line.family, AF_INET | AF_INET6) && line.protocol == u16::from(TCP);
    let is_connected = match line.family {
        AF_UNIX => line.state == state::ESTABLISHED,
        _ => is_tcp && line.state != state::CLOSE,
    };
    line.orphan == 0 && is_connected
}

/// Begins to end all connections of these runs that any process of the host has. Who waits is told when all was looked at.
/// `None` where nobody looks now, because too many wait for somebody.
pub fn hang_up(runs: Runs, pins: &Pins) -> Result<Option<mpsc::Receiver<()>>, HangUpError> {
    let (is_done, done) = mpsc::sync_channel(1);
    let sockets = sockets::sockets(&pins.map(SOCKETS))?;
    let is_one_more = at_work(|all| {
        let is_one_more = all.threads < MOST_WAITING;
        all.threads += usize::from(is_one_more);
        is_one_more
    });
    if !is_one_more {
        return Ok(None);
    }
    let begun = thread::Builder::new().name("hang up".to_owned()).spawn(move || {
        look(&sockets, &runs);
        at_work(|all| all.threads -= 1);
        // Nobody need wait for it.
        is_done.send(()).unwrap_or(());
    });
    if begun.is_err() {
        at_work(|all| all.threads -= 1);
    }
    begun.map(|_| Some(done)).map_err(HangUpError::Thread)
}

/// One look at every process. One that is gone, or cannot be looked at, keeps no other.
fn look(sockets: &Sockets, runs: &Runs) {
    let processes = match fs::read_dir("/proc") {
        Ok(processes) => processes,
        Err(error) => {
            warn!(%error, "sockets of ended runs are not looked for");
            return;
        }
    };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // What this process has it is ending already.
    for tgid in numbers.filter(|tgid| *tgid != process::id()) {
        if let Err(error) = look_at(tgid, sockets, runs) {
            debug!(tgid, %error, "a process was not looked at");
        }
    }
}

fn look_at(tgid: u32, sockets: &Sockets, runs: &Runs) -> Result<(), HangUpError> {
    let numbers = sockets::sockets_of(tgid).map_err(|source| HangUpError::List { tgid, source })?;
    let pid = i32::try_from(tgid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid.filter(|_| !numbers.is_empty()) else { return Ok(()) };
    let process = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| HangUpError::Take { tgid, source: error.into() })?;
    for (number, inode) in numbers {
        // Closed by now, or another one: the next look finds it.
        let Ok(socket) = pidfd_getfd(process.as_fd(), number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let maker = sockets.get(&socket.as_raw_fd(), 0);
        if maker.is_ok_and(|maker| runs.get(&maker.slot) == Some(&maker.generation))
            && at_work(|all| all.sockets.insert(inode))
        {
            let ended = sockets::end(&socket);
            at_work(|all| all.sockets.remove(&inode));
            ended.map_err(|source| HangUpError::End { tgid, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_told_who_may_still_wait_at_the_other_end() {
        let line = |family, protocol, state, orphan| SocketLine {
            family,
            protocol,
            state,
            orphan,
            ..SocketLine::default()
        };
        let (tcp, listens) = (u16::from(TCP), 10);
        assert!(is_held(&line(AF_INET, tcp, state::ESTABLISHED, 0)));
        assert!(is_held(&line(AF_INET6, tcp, listens, 0)));
        assert!(is_held(&line(AF_UNIX, 0, state::ESTABLISHED, 0)));
        assert!(!is_held(&line(AF_INET, tcp, state::ESTABLISHED, 1)), "nobody has it");
        assert!(!is_held(&line(AF_INET, tcp, state::CLOSE, 0)));
        assert!(!is_held(&line(AF_UNIX, 0, state::CLOSE, 0)));
        assert!(!is_held(&line(AF_INET, 17, state::ESTABLISHED, 0)), "no connection");
    }
}
