//! The decisions. Pure, total, and the same on both sides.
//!
//! Each asks first whether the run and every run above it is alive, then each of their rules. A decision that cannot
//! be made is a fault, which [`crate::verdict::settle`] turns into a denial.

pub mod capability;
pub mod file;
pub mod lifecycle;
pub mod net;
pub mod packet;
#[cfg(test)]
mod tests;
pub mod unix;
