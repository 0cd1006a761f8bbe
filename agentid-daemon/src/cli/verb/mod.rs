//! One file for each verb.

pub mod adopt;
pub mod change;
pub mod completions;
pub mod doctor;
pub mod events;
pub mod manual;
pub mod offline;
pub mod owner;
pub mod policies;
pub mod policy;
pub mod policy_diff;
pub mod policy_explain;
pub mod policy_show;
pub mod ps;
pub mod revoke;
pub mod run;
pub mod show;
pub mod status;
pub mod tree;
pub mod whoami;
pub mod why;
