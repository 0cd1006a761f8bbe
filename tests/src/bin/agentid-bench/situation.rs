//! In which situations the operations are measured.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::operation::TABLE as OPERATIONS;
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
    /// The same while a run lives whose tasks go on after its end, or are killed at it: what is attached for it is on
    /// everybody's way.
    Beside(OnEnd),
    /// A run.
    Tagged(u16),
    /// A run whose policy also denies a name in every folder.
    TaggedByName(u16),
}

/// What a policy says about the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    Deny,
    Kill,
}

/// The number of rules of the full columns; other policies have only some operations.
pub const RULES: u16 = 10;

/// How many processes measure in turn. What starts processes costs one of them some percent more than another, from
/// its first batch to its last.
const PROCESSES: u32 = 4;

/// In this order. Landlock comes before agentid, so that neither pays for the other.
pub const TABLE: [Situation; 10] = [
    Situation { title: "baseline, first", kind: Kind::Baseline, agentid_loaded: false },
    Situation { title: "Landlock, 10 rules", kind: Kind::Landlock(RULES), agentid_loaded: false },
    Situation { title: "untagged", kind: Kind::Untagged, agentid_loaded: true },
    Situation {
        title: "untagged beside a run, deny",
        kind: Kind::Beside(OnEnd::Deny),
        agentid_loaded: true,
    },
    Situation {
        title: "untagged beside a run, kill",
        kind: Kind::Beside(OnEnd::Kill),
        agentid_loaded: true,
    },
    Situation { title: "tagged, 10 rules", kind: Kind::Tagged(RULES), agentid_loaded: true },
    Situation { title: "tagged, 1 rule", kind: Kind::Tagged(1), agentid_loaded: true },
    Situation { title: "tagged, 100 rules", kind: Kind::Tagged(100), agentid_loaded: true },
    Situation {
        title: "tagged, 10 rules and a denied name",
        kind: Kind::TaggedByName(RULES),
        agentid_loaded: true,
    },
    Situation { title: "baseline, last", kind: Kind::Baseline, agentid_loaded: false },
];

impl Situation {
    /// The samples of each of the `operations`; none where it is not measured.
    pub fn measure(&self, operations: &[usize]) -> Result<Vec<Option<Samples>>> {
        let (measured, left_out): (Vec<usize>, Vec<usize>) =
            operations.iter().copied().partition(|index| self.has(*index));
        let order = Order {
            operations: measured,
            held: !matches!(self.kind, Kind::Baseline | Kind::Untagged | Kind::Beside(_)),
            landlock: if let Kind::Landlock(rules) = self.kind { Some(rules) } else { None },
        };
        let neighbour = match self.kind {
            Kind::Beside(on_end) => Some(Neighbour::start(on_end)?),
            Kind::Baseline
            | Kind::Landlock(_)
            | Kind::Untagged
            | Kind::Tagged(_)
            | Kind::TaggedByName(_) => None,
        };
        let mut samples = self.work(&order)?;
        for _ in 1..PROCESSES {
            for (all, more) in samples.iter_mut().zip(self.work(&order)?) {
                if let (Some(all), Some(more)) = (all, more) {
                    all.extend(more);
                }
            }
        }
        neighbour.map_or(Ok(()), Neighbour::end)?;
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
        match self.kind {
            Kind::Baseline | Kind::Landlock(_) | Kind::Untagged | Kind::Tagged(RULES) => true,
            Kind::Beside(_) => OPERATIONS.get(operation).is_some_and(|operation| operation.beside),
            Kind::Tagged(_) | Kind::TaggedByName(_) => {
                OPERATIONS.get(operation).is_some_and(|operation| operation.by_rules)
            }
        }
    }

    fn work(&self, order: &Order) -> Result<Vec<Option<Samples>>> {
        let order = serde_json::to_string(order)?;
        let policy = match self.kind {
            Kind::Tagged(rules) => Some(rules::policy(rules)),
            Kind::TaggedByName(rules) => Some(rules::policy_with_denied_name(rules)),
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
struct Neighbour {
    run: Child,
}

impl Neighbour {
    /// Started when its command runs: what it needs is attached then.
    fn start(on_end: OnEnd) -> Result<Self> {
        let mut command = Command::new("/usr/bin/agentid");
        command.args(["run", "--policy", rules::policy_of_neighbour(on_end), "--agent", "bench"]);
        command.args(["--owner", "bench", "--task", "bench", "--", terrain::WORKER, "wait"]);
        let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = run.stdout.take().context("the neighbour has no output")?;
        said.read_exact(&mut [0]).context("failed to hear from the neighbour")?;
        Ok(Self { run })
    }

    fn end(mut self) -> Result<()> {
        drop(self.run.stdin.take());
        let status = self.run.wait().context("failed to wait for the neighbour")?;
        if status.success() { Ok(()) } else { bail!("the neighbour ended: {status}") }
    }
}
