//! Two policies, compared in all that they can be asked.
//!
//! Every question has finitely many kinds, because rules tell only so many paths and peers apart. One of each kind is put
//! to both policies, by the code that decides in the kernel.

mod graph;
mod names;
mod peers;
mod trace;

#[cfg(test)]
mod tests;

use agentid_common::verdict::Fault;

pub use graph::{Graph, Spot, Way};
pub use peers::{Asked, host_rules, hosts, peers};
pub use trace::{Along, Trace, own_traces, traces};

/// Why two policies cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    #[error(
        "the policies tell too many paths apart: name fewer files, or use fewer `**` and `*` in one pattern"
    )]
    TooLarge,
    #[error("no decision can be made ({})", .0.name())]
    Fault(Fault),
}
