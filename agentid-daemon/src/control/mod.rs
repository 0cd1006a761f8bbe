//! How the daemon is asked: the protocol, who may use it, and both of its ends.

pub mod api;
pub mod caller;
pub mod client;
pub mod feed;
pub mod server;

#[cfg(test)]
mod tests;
