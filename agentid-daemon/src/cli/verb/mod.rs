//! One file for each verb.

pub mod change;
pub mod events;
pub mod policy;
pub mod ps;
pub mod revoke;
pub mod run;
pub mod show;
pub mod status;
pub mod why;
