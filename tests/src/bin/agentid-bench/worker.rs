//! The process that does the operations, in one situation.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::operation::{Operation, TABLE};
use crate::sandbox;

/// What caches fill with on the first times is nobody's price.
pub const WARMING: u32 = 3;

/// What a worker is told, as its argument.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// How many workers have measured in this situation before.
    pub turn: u32,
    /// By their index in the table.
    pub operations: Vec<usize>,
    /// Whether the rules bind it.
    pub held: bool,
    /// Whether it binds itself by so many rules.
    pub landlock: Option<u16>,
}

/// Instructions for one operation, a number for each batch.
pub type Samples = Vec<u64>;

/// Measures, and prints the [`Samples`] of each operation (`null` where it cannot be measured here) as one line.
pub fn run(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order).context("failed to read the worker's order")?;
    let landlock = order.landlock.map(sandbox::restrict).transpose()?;
    let mut all: Vec<Option<Samples>> = Vec::new();
    for index in order.operations {
        let operation = TABLE.get(index).context("there is no such operation")?;
        let without_rules = landlock.is_some_and(|held| operation.connects && !held.connects);
        all.push(if without_rules {
            None
        } else {
            Some(measure(operation, order.turn, order.held).with_context(|| operation.name)?)
        });
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&all)?)?;
    Ok(())
}

/// Says that it is there, and waits until its input ends.
pub fn wait() -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(b".")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("failed to wait")?;
    Ok(())
}

fn measure(operation: &Operation, turn: u32, held: bool) -> Result<Samples> {
    let expected = if held { operation.denied.map_or(Ok(()), Err) } else { Ok(()) };
    let mut act = (operation.prepare)(turn).context("failed to prepare")?;
    let mut samples = Vec::new();
    for batch in 0..WARMING + operation.batches {
        let start = Instant::now();
        for _ in 0..operation.batch {
            let outcome = act.once();
            if outcome != expected {
                bail!("gave {outcome:?}, and must give {expected:?}");
            }
        }
        let taken = u64::try_from(start.elapsed().as_nanos())?;
        let complete = act.clear()?;
        if complete && batch >= WARMING {
            samples.push(taken / u64::from(operation.batch));
        }
    }
    Ok(samples)
}
