//! What the guest suite is made of: a daemon and runs that clean up after themselves, and the language in which a test
//! speaks with the probe inside a run.

pub mod attack;
pub mod channel;
pub mod control;
pub mod crowd;
pub mod handle;
pub mod harness;
pub mod power;
pub mod step;
