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

/// What a part has measured.
#[derive(Debug)]
pub struct Table {
    /// In Markdown.
    pub text: String,
    /// Figures that are over their limits, and what the limits are.
    pub over: Vec<String>,
}

impl Table {
    const fn of(text: String) -> Self {
        Self { text, over: Vec::new() }
    }
}

/// A part that is still to be measured.
type Part<'a> = Box<dyn FnOnce() -> Result<Table> + 'a>;

/// The parts that can be asked for.
pub fn part<'a>(words: &[&'a str]) -> Option<Part<'a>> {
    match *words {
        ["launch"] => Some(Box::new(launch::measure)),
        ["ending"] => Some(Box::new(|| ending::measure(None))),
        ["ending", kind] => Some(Box::new(|| ending::measure(Some(kind)))),
        ["many"] => Some(Box::new(many::measure)),
        _ => None,
    }
}

/// The figure in the middle: a tick of the clock that came in between is nobody's price.
fn middle<T: Copy + Ord>(figures: impl IntoIterator<Item = T>) -> Result<T> {
    let mut figures: Vec<T> = figures.into_iter().collect();
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().context("nothing was measured")
}
