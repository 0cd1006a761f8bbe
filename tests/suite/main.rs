//! The suite for guests, one module for each promise. It needs root and the kernel to itself, so that tests run one at
//! a time (`cargo xtask test`).

mod ancestors;
mod bad_input;
mod boot_nobpf;
mod boot_nocx16;
mod boot_overlay;
mod boot_preempt_full;
mod change;
mod connect;
mod control;
mod ending;
mod exec;
mod expiry;
mod fault;
mod globs;
mod guards;
mod inherit;
mod ioctl;
mod many;
mod mapping;
mod metrics;
mod names;
mod off;
mod open;
mod oracle;
mod posture;
mod preemption;
mod received;
mod records;
mod rename_race;
mod revoke;
mod stage;
mod storm;
mod upgrade;
mod verified;
