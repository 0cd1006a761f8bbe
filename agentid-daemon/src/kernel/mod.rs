//! The running kernel: the only module that knows aya.

pub mod skeleton;

pub use skeleton::*;
