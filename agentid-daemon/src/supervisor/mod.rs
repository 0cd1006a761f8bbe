//! The daemon's one owner of state.
//!
//! [`step`] decides and touches nothing; [`run`] waits for whatever comes next, asks it, and carries out what it says.

#![forbid(unsafe_code)]

mod budget;
pub mod command;
pub mod delegate;
pub mod diff;
pub mod expect;
pub mod explain;
pub mod folder;
pub mod grant;
pub mod launch;
pub mod limits;
mod links;
pub mod moving;
mod pinned;
pub mod refusal;
pub mod rule_text;
pub mod rules;
pub mod run;
pub mod select;
pub mod shown;
mod sockets;
pub mod step;
pub mod store;
mod told;
mod tripwire;
pub mod view;
pub mod why;

#[cfg(test)]
mod tests;
