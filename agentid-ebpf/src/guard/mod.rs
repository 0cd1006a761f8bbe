//! What keeps agentid itself out of reach.

pub mod bpffs;
pub mod fcntl;
pub mod sysctl;
pub mod tools;
