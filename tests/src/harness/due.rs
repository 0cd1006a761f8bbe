//! A deadline that is near, for a run whose daemon is dead.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agentid_common::instance::Instance;
use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::{Daemon, Run, table::Table};

impl Run {
    /// Has the run end this long from now, in the kernel's table and in the daemon's file, as if it had been launched with
    /// that time: what comes before the end need not be done by then. Gives the deadline since 1970.
    pub fn due_in(&self, daemon: &Daemon, left: Duration) -> Result<Duration> {
        ensure!(daemon.tgid().is_none(), "the daemon runs, and knows better");
        let table = Table::open()?;
        let (slot, instance) = table.find(self.id())?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)? + left;
        let boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?) + left;
        let deadline = u64::try_from(boot.as_nanos())?;

        let file = daemon.scene().state().join(format!("invocations/{}.json", self.id()));
        let mut kept: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let noted = kept.pointer_mut("/run/place/deadline").context("the file has no deadline")?;
        ensure!(noted.as_u64() == Some(instance.deadline), "file and table do not agree");
        *noted = deadline.into();
        fs::write(&file, serde_json::to_vec(&kept)?)?;
        table.set(slot, Instance { deadline, ..instance })?;
        Ok(wall)
    }
}
