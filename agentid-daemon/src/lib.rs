//! The agentid service and its command line, in floor order: a module imports only what stands above it here.

pub mod policy;
pub mod settings;

pub mod image;

pub mod control;
pub mod event;
pub mod instance;
pub mod metrics;
pub mod names;
pub mod supervisor;

pub mod kernel;

pub mod cli;
