//! What is on its way over loopback arrives.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::wait;

/// Waits until every packet that was sent before has been received, as far as a socket takes it: a processor takes packets
/// in one after the other (net/core/dev.c: `process_backlog`), so that one of ours is the last on each of them.
pub fn settle() -> Result<()> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this)?;
    let settled = (0..CpuSet::count())
        .filter(|cpu| before.is_set(*cpu).unwrap_or(false))
        .try_for_each(|cpu| settle_on(this, cpu));
    sched_setaffinity(this, &before)?;
    settled
}

fn settle_on(this: Pid, cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(this, &only).with_context(|| format!("run on processor {cpu}"))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(wait::SOON))?;
    socket.send_to(b"x", socket.local_addr()?)?;
    let (_, from) = socket.recv_from(&mut [0])?;
    ensure!(from == socket.local_addr()?, "{from} has sent to a port that nobody knows");
    Ok(())
}
