//! What a daemon has left in the kernel, for ending runs while there is none.
//!
//! Nothing is loaded: the maps and programs are those of the pins, and nothing of them is changed but what is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use agentid_common::record::SocketLine;

use super::{
    apply::{self, ApplyError},
    demand::{DemandError, OnDemand},
    elsewhere,
    freezer::{self, FreezeError, Runs},
    list,
    maps::{Maps, MapsError, TagError, Tags},
    orphans::{self, OrphanError},
    pins::{PinError, Pins},
    sockets::{self, EndedConnections, HangUpError, HangingUp},
    start::{self, Held, StartError},
    tasks::{self, Processes, ReadError, StopError},
};
use crate::{image::MapOp, instance::Demand};

#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    #[error("find what enforces on this host: nothing is pinned in {0}")]
    Nothing(String),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Layout(#[from] StartError),
    #[error(transparent)]
    Keeper(#[from] TagError),
    #[error(transparent)]
    Maps(#[from] MapsError),
}

/// The tables of a kernel that enforces without a daemon. They are all that it takes to deny a run everything.
pub struct Left {
    maps: Maps,
    pins: Pins,
}

/// The programs that are not always attached, which it takes to find a run's tasks.
pub struct LeftPrograms {
    on_demand: OnDemand,
    tags: Tags,
    pins: Pins,
}

impl Left {
    /// Opens what is pinned in this folder. To be called by the only thread of the process.
    pub fn open(bpffs: &Path) -> Result<Self, LeftError> {
        let pins = Pins::at(bpffs);
        if !pins.are_there()? {
            return Err(LeftError::Nothing(bpffs.display().to_string()));
        }
        start::earlier_host(&pins)?;
        // The guards hold against everyone but a keeper.
        Tags::pinned(&pins.map("TAGS"))?.keep_this_process()?;
        Ok(Self { maps: Maps::open(&pins)?, pins })
    }

    /// Every slot that a run holds.
    pub fn held(&self) -> Result<Vec<Held>, StartError> {
        start::held(&self.maps, &self.pins)
    }

    pub fn apply(&mut self, ops: &[MapOp]) -> Result<(), ApplyError> {
        apply::apply(&mut self.maps, ops)
    }

    /// How many tasks of a slot's run are alive.
    pub fn live(&self, slot: u32) -> Result<u64, ReadError> {
        Ok(self.maps.activity.get(&slot, 0)?.live)
    }

    pub fn programs(&self) -> Result<LeftPrograms, DemandError> {
        Ok(LeftPrograms {
            on_demand: OnDemand::newest(&self.pins)?,
            tags: Tags::pinned(&self.pins.map("TAGS")).map_err(DemandError::Tags)?,
            pins: self.pins.clone(),
        })
    }
}

impl LeftPrograms {
    /// Attaches what the runs need and is not attached yet.
    pub fn meet(&mut self, demand: Demand) -> Result<(), DemandError> {
        self.on_demand.meet(&self.pins, demand)
    }

    /// SIGKILL to each of the processes that is still of its run; gives how many there were.
    pub fn stop(&self, processes: &Processes) -> Result<usize, StopError> {
        tasks::stop(processes, &self.tags)
    }

    /// The processes of the runs.
    pub fn processes(&mut self, runs: &Runs) -> Result<Processes, ReadError> {
        tasks::processes(self.on_demand.task_list()?, runs)
    }

    /// Has all tasks of the runs stand still, in cgroups of this name, which are added to `groups` by their places below
    /// the root.
    pub fn freeze(
        &mut self,
        runs: &Runs,
        name: &str,
        groups: &mut BTreeSet<PathBuf>,
    ) -> Result<(), FreezeError> {
        let Self { on_demand, tags, .. } = self;
        let list = || on_demand.task_list().map_err(ReadError::List);
        freezer::freeze(list, tags, runs, name, groups)
    }

    /// Begins to end the connections of runs that are over, and `killed` of them to be killed.
    pub fn hang_up(
        &mut self,
        runs: &Runs,
        killed: &Runs,
    ) -> Result<Option<HangingUp>, HangUpError> {
        let processes = self.processes(runs).map_err(StopError::from)?;
        let list = self.on_demand.socket_list(&self.pins).map_err(ReadError::Sockets);
        sockets::hang_up(processes, killed, list.map_err(StopError::from)?, &self.pins)
    }

    /// Ends the connections that these runs have left and no process has; gives how many of each slot's, and how many sockets
    /// there were of those of which no task is to be left.
    pub fn end_orphans(
        &self,
        runs: &Runs,
        dying: &Runs,
    ) -> Result<(BTreeMap<u32, EndedConnections>, usize), OrphanError> {
        let list = self.on_demand.socket_list(&self.pins).map_err(ReadError::Sockets)?;
        let mut lines: Vec<SocketLine> = list::all(list).map_err(ReadError::from)?;
        let is_of = |line: &SocketLine, runs: &Runs| runs.get(&line.slot) == Some(&line.generation);
        lines.retain(|line| is_of(line, runs));
        let left = lines.iter().filter(|line| is_of(line, dying)).count();
        Ok((orphans::end(&lines)?, left))
    }

    /// Ends the connections of these runs that whoever else has, and waits so long for that at most.
    pub fn hang_up_elsewhere(&self, runs: &Runs, patience: Duration) -> Result<(), HangUpError> {
        let list = self.on_demand.socket_list(&self.pins).map_err(ReadError::Sockets);
        let is_theirs = |line: &SocketLine| {
            runs.get(&line.slot) == Some(&line.generation) && elsewhere::is_held(line)
        };
        if list::any(list.map_err(StopError::from)?, is_theirs)? {
            let looked = elsewhere::hang_up(runs.clone(), &self.pins)?.ok_or(HangUpError::Late)?;
            looked.recv_timeout(patience).map_err(|_| HangUpError::Late)?;
        }
        Ok(())
    }
}
