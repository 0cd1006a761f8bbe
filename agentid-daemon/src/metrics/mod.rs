//! What Prometheus reads. Labels are closed lists, never an invocation's ID or a path.

#![forbid(unsafe_code)]

pub mod http;
pub mod kernel;
pub mod series;

#[cfg(test)]
mod tests;
