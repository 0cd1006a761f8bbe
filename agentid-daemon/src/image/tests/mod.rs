//! Tests of the compiler, over made-up hosts.

mod abstract_names;
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
