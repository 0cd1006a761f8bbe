//! Runs with all that is known of them now.

use std::collections::HashMap;

use tracing::error;

use super::{Supervisor, launch::chain};
use crate::{
    control::{
        api::{MOST_SOCKETS, RunView, SocketView, UsageView},
        caller::Standing,
    },
    instance::Run,
    kernel::{Kernel, Usage},
    supervisor::{command::Answer, sockets},
};

/// Most sockets that one answer shows, of all its runs together.
const MOST_IN_ALL: usize = 10 * MOST_SOCKETS;

/// Sockets of one run, as far as they are shown, and how many there are beyond.
#[derive(Default)]
struct Sockets {
    shown: Vec<SocketView>,
    more: u64,
}

impl Supervisor {
    pub(super) fn show_one(&self, standing: &Standing, id: &str) -> Answer<RunView> {
        let run = self.find(standing, id)?;
        Ok(self.show(run, &mut self.sockets_of(&[run])))
    }

    /// The same of several, after one look at all sockets.
    pub(super) fn show_all(&self, runs: &[&Run]) -> Vec<RunView> {
        let mut sockets = self.sockets_of(runs);
        runs.iter().map(|run| self.show(run, &mut sockets)).collect()
    }

    /// By the generations of their runs; else why they are not known, or not all of them.
    fn sockets_of(&self, runs: &[&Run]) -> (HashMap<u64, Sockets>, Option<String>) {
        let mut shown = 0;
        let none = runs.iter().map(|run| (run.place.generation, Sockets::default()));
        let mut sockets: HashMap<u64, Sockets> = none.collect();
        let listed = self.kernel.each_socket(|line| match sockets.get_mut(&line.generation) {
            Some(its) if its.shown.len() < MOST_SOCKETS && shown < MOST_IN_ALL => {
                its.shown.push(sockets::view(&line));
                shown += 1;
            }
            Some(its) => its.more += 1,
            None => {}
        });
        let unknown = listed.err().map(|failure| {
            error!(message = %chain(&failure), "the sockets of runs are not known");
            chain(&failure)
        });
        (sockets, unknown)
    }

    fn show(&self, run: &Run, sockets: &mut (HashMap<u64, Sockets>, Option<String>)) -> RunView {
        let (of_runs, unknown) = sockets;
        let Sockets { shown, more } = of_runs.remove(&run.place.generation).unwrap_or_default();
        let usage = run.enclosure.as_ref().filter(|_| run.phase.holds_slot()).map(|enclosure| {
            let Usage { memory, memory_peak, tasks, cpu_us, killed } =
                Kernel::usage(&enclosure.group);
            UsageView { memory, memory_peak, tasks, cpu_us, killed }
        });
        RunView {
            sockets: shown,
            more_sockets: more,
            sockets_unknown: unknown.clone(),
            usage,
            ..self.view(run)
        }
    }
}
