//! Live runs with their processes.

use std::{collections::BTreeMap, fs};

use super::{Supervisor, launch::chain};
use crate::{
    control::{
        api::{Code, ErrorReply, LOG, ProcessView, TreeQuery, TreeRun},
        caller::Standing,
    },
    instance::Run,
    supervisor::{command::Answer, select},
};

impl Supervisor {
    pub(super) fn tree(&mut self, standing: &Standing, query: &TreeQuery) -> Answer<Vec<TreeRun>> {
        let tasks = self.kernel.tasks().map_err(|failure| {
            let message = format!("the tasks of runs cannot be listed: {}", chain(&failure));
            ErrorReply::new(Code::Internal, message, LOG)
        })?;
        // Threads by their process, processes by the generation of their run.
        let mut processes: BTreeMap<u64, BTreeMap<u32, u64>> = BTreeMap::new();
        for task in tasks {
            let of_run = processes.entry(task.generation).or_default();
            *of_run.entry(task.tgid).or_default() += 1;
        }
        let (registry, now) = (&self.state.registry, self.now());
        let sees = |run: &Run| standing.sees(run.uid);
        let runs = match &query.select {
            Some(selector) => select::find_trees(registry, selector, sees, now)?,
            None => registry.live().filter(|run| sees(run)).collect(),
        };
        let runs = runs.into_iter().map(|run| {
            let of_run = processes.remove(&run.place.generation).unwrap_or_default();
            let view = |(tgid, threads)| ProcessView { tgid, threads, comm: comm(tgid) };
            TreeRun { run: self.view(run), processes: of_run.into_iter().map(view).collect() }
        });
        Ok(runs.collect())
    }
}

/// A process's name for itself; `None` when it has gone meanwhile.
fn comm(tgid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{tgid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}
