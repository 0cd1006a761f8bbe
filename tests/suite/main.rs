//! The suite for guests, one module for each promise. It needs root and the kernel to itself, so that tests run one at
//! a time (`cargo xtask test`).

mod connect;
mod inherit;
mod open;
mod revoke;
