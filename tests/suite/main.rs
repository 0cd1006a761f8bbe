//! The suite for guests, one module for each promise. It needs root and the kernel to itself, so that tests run one at
//! a time (`cargo xtask test`).

mod bad_input;
mod boot_nobpf;
mod boot_preempt_full;
mod connect;
mod control;
mod guards;
mod inherit;
mod metrics;
mod off;
mod open;
mod posture;
mod preemption;
mod rename_race;
mod revoke;
mod stage;
