//! What the life of a run costs: its launch beside another sandbox's, its end beside a kill, and both among many runs.
//!
//! Each part is asked for by its name, and prints a table of its own.

mod ending;
mod idle;
mod launch;
mod many;
mod start;
mod tree;

use anyhow::{Context as _, Result};

pub use launch::work;

/// The parts that can be asked for.
pub fn part(name: &str) -> Option<fn() -> Result<String>> {
    match name {
        "launch" => Some(launch::measure),
        "ending" => Some(ending::measure),
        "many" => Some(many::measure),
        _ => None,
    }
}

/// The figure in the middle: a tick of the clock that came in between is nobody's price.
fn middle<T: Copy + Ord>(figures: impl IntoIterator<Item = T>) -> Result<T> {
    let mut figures: Vec<T> = figures.into_iter().collect();
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().context("nothing was measured")
}
