//! How the daemon is asked: the protocol, who may use it, and both of its ends.

pub mod account;
pub mod api;
mod body;
pub mod brings;
pub mod caller;
pub mod client;
mod document;
pub mod feed;
mod long;
mod looks;
mod mappings;
mod places;
pub mod plain;
mod rate;
mod route;
mod routes;
pub mod server;

#[cfg(test)]
mod tests;
