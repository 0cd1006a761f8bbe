//! Tests of the compiler, over made-up hosts.

mod bind;
mod examples;
mod file;
mod glob;
mod host;
mod makers;
mod net;
mod numbers;
mod reference;
mod update;
