//! In which situations the operations are measured.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::operation::{Hosts, TABLE as OPERATIONS};
use crate::rules::MOST;
use crate::worker::{Order, Samples};
use crate::{rules, terrain};

/// One column of the table.
pub struct Situation {
    pub title: &'static str,
    pub kind: Kind,
    pub agentid_loaded: bool,
}

/// What the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A process that nothing holds, without agentid.
    Baseline,
    /// Held by Landlock, without agentid.
    Landlock(u16),
    /// A process that is no run, with agentid.
    Untagged,
    /// The same while a run lives: what is attached for it is on everybody's way.
    Beside(Neighbour),
    /// A run.
    Tagged(u16),
    /// A run whose policy also denies a name in every folder.
    TaggedByName(u16),
    /// A run whose policy also grants the name of a host.
    TaggedWithHost(u16),
}

/// What the policy of a run says that others are measured beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Its tasks go on after its end.
    Deny,
    /// They are killed at it.
    Kill,
    /// It may know a host's name; and its tasks go on.
    Host,
}

/// The number of rules of the full columns; other policies have only some operations.
pub const RULES: u16 = 10;

/// How many processes measure in turn. What starts processes costs one of them some percent more than another, from
/// its first batch to its last.
pub const PROCESSES: u32 = 4;

/// In this order. Landlock comes before agentid, so that neither pays for the other.
pub const TABLE: [Situation; 12] = [
    Situation { title: "baseline, first", kind: Kind::Baseline, agentid_loaded: false },
    Situation { title: "Landlock, 10 rules", kind: Kind::Landlock(RULES), agentid_loaded: false },
    Situation { title: "untagged", kind: Kind::Untagged, agentid_loaded: true },
    Situation {
        title: "untagged beside a run, deny",
        kind: Kind::Beside(Neighbour::Deny),
        agentid_loaded: true,
    },
    Situation {
        title: "untagged beside a run, kill",
        kind: Kind::Beside(Neighbour::Kill),
        agentid_loaded: true,
    },
    Situation {
        title: "untagged beside a run, host's name",
        kind: Kind::Beside(Neighbour::Host),
        agentid_loaded: true,
    },
    Situation { title: "tagged, 10 rules", kind: Kind::Tagged(RULES), agentid_loaded: true },
    Situation { title: "tagged, 1 rule", kind: Kind::Tagged(1), agentid_loaded: true },
    Situation { title: "tagged, 1 000 rules", kind: Kind::Tagged(MOST), agentid_loaded: true },
    Situation {
        title: "tagged, 10 rules and a denied name",
        kind: Kind::TaggedByName(RULES),
        agentid_loaded: true,
    },
    Situation {
        title: "tagged, 10 rules and a host's name",
        kind: Kind::TaggedWithHost(RULES),
        agentid_loaded: true,
    },
    Situation { title: "baseline, last", kind: Kind::Baseline, agentid_loaded: false },
];

impl Situation {
    /// The samples of each of the `operations`; none where it is not measured.
    pub fn measure(&self, operations: &[usize]) -> Result<Vec<Option<Samples>>> {
        let (measured, left_out): (Vec<usize>, Vec<usize>) =
            operations.iter().copied().partition(|index| self.has(*index));
        let order = |turn| Order {
            turn,
            operations: measured.clone(),
            held: !matches!(self.kind, Kind::Baseline | Kind::Untagged | Kind::Beside(_)),
            landlock: if let Kind::Landlock(rules) = self.kind { Some(rules) } else { None },
        };
        let neighbour = match self.kind {
            Kind::Beside(neighbour) => Some(Run::start(neighbour)?),
            Kind::Baseline
            | Kind::Landlock(_)
            | Kind::Untagged
            | Kind::Tagged(_)
            | Kind::TaggedByName(_)
            | Kind::TaggedWithHost(_) => None,
        };
        let mut samples = self.work(&order(0))?;
        for turn in 1..PROCESSES {
            for (all, more) in samples.iter_mut().zip(self.work(&order(turn))?) {
                if let (Some(all), Some(more)) = (all, more) {
                    all.extend(more);
                }
            }
        }
        neighbour.map_or(Ok(()), Run::end)?;
        let mut samples = samples.into_iter();
        operations
            .iter()
            .map(|index| {
                if left_out.contains(index) {
                    return Ok(None);
                }
                samples.next().context("the worker has left an operation out")
            })
            .collect()
    }

    fn has(&self, operation: usize) -> bool {
        let Some(operation) = OPERATIONS.get(operation) else { return false };
        match self.kind {
            Kind::Baseline | Kind::Landlock(_) | Kind::Untagged => true,
            Kind::Tagged(RULES) => operation.hosts != Hosts::Asked,
            Kind::Beside(Neighbour::Host) | Kind::TaggedWithHost(_) => {
                operation.hosts != Hosts::Nothing
            }
            Kind::Beside(_) => operation.beside,
            Kind::Tagged(_) | Kind::TaggedByName(_) => operation.by_rules,
        }
    }

    fn work(&self, order: &Order) -> Result<Vec<Option<Samples>>> {
        let order = serde_json::to_string(order)?;
        let policy = match self.kind {
            Kind::Tagged(rules) => Some(rules::policy(rules)),
            Kind::TaggedByName(rules) => Some(rules::policy_with_denied_name(rules)),
            Kind::TaggedWithHost(rules) => Some(rules::policy_with_host(rules)),
            Kind::Baseline | Kind::Landlock(_) | Kind::Untagged | Kind::Beside(_) => None,
        };
        let mut command = match policy {
            Some(policy) => {
                let mut command = Command::new("/usr/bin/agentid");
                command.args(["run", "--policy", &policy, "--agent", "bench", "--owner", "bench"]);
                command.args(["--task", "bench", "--", terrain::WORKER]);
                command
            }
            None => Command::new(terrain::WORKER),
        };
        command.args(["worker", &order]);
        // No device: a run has no rule for one.
        command.stdin(Stdio::piped()).stderr(Stdio::inherit());
        let output = command.output().context("failed to start the worker")?;
        if !output.status.success() {
            bail!("the worker ended: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("failed to read the worker's samples")
    }
}

/// A run that lives and does nothing.
pub struct Run {
    run: Child,
}

impl Run {
    /// Started when its command runs: what it needs is attached then.
    pub fn start(neighbour: Neighbour) -> Result<Self> {
        let mut command = Command::new("/usr/bin/agentid");
        command.args([
            "run",
            "--policy",
            rules::policy_of_neighbour(neighbour),
            "--agent",
            "bench",
        ]);
        command.args(["--owner", "bench", "--task", "bench", "--", terrain::WORKER, "wait"]);
        let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = run.stdout.take().context("the neighbour has no output")?;
        said.read_exact(&mut [0]).context("failed to hear from the neighbour")?;
        Ok(Self { run })
    }

    pub fn end(mut self) -> Result<()> {
        drop(self.run.stdin.take());
        let status = self.run.wait().context("failed to wait for the neighbour")?;
        if status.success() { Ok(()) } else { bail!("the neighbour ended: {status}") }
    }
}
