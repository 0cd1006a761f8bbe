//! The figures as a Markdown table, and the one limit.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

use crate::operation::{Operation, TABLE as OPERATIONS};
use crate::situation::{Kind, RULES, Situation};
use crate::worker::Samples;

/// What an untagged process may pay, as a multiple of the baseline.
pub const UNTAGGED_LIMIT: f64 = 1.05;

/// Instructions for one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figure {
    minimum: u64,
    median: u64,
}

struct Column {
    title: &'static str,
    kind: Kind,
    /// By operation; none where it was not measured.
    figures: Vec<Option<Figure>>,
}

pub struct Report {
    kernel: String,
    /// The rows, by their index in the table of operations.
    pub operations: Vec<usize>,
    columns: Vec<Column>,
}

impl Report {
    /// A report on the operations whose name contains `part`.
    pub fn new(part: &str) -> Result<Self> {
        let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
        let operations: Vec<usize> = (0..OPERATIONS.len())
            .filter(|index| OPERATIONS.get(*index).is_some_and(|row| row.name.contains(part)))
            .collect();
        ensure!(!operations.is_empty(), "no operation has {part:?} in its name");
        Ok(Self { kernel, operations, columns: Vec::new() })
    }

    /// Adds what was measured in one situation.
    pub fn add(&mut self, situation: &Situation, samples: Vec<Option<Samples>>) -> Result<()> {
        let figure = |samples: Option<Samples>| samples.map(figure).transpose();
        let figures = samples.into_iter().map(figure).collect::<Result<_>>()?;
        self.columns.push(Column { title: situation.title, kind: situation.kind, figures });
        Ok(())
    }

    /// A sentence for each row in which an untagged process pays too much.
    pub fn untagged_over_limit(&self) -> Vec<String> {
        let mut over = Vec::new();
        for row in 0..self.operations.len() {
            if let Some(ratio) = self.ratio(row, Kind::Untagged)
                && ratio > UNTAGGED_LIMIT
            {
                let name = self.name(row);
                over.push(format!(
                    "{name}: untagged {ratio:.3} of the baseline, at most {UNTAGGED_LIMIT}"
                ));
            }
        }
        over
    }

    fn name(&self, row: usize) -> &'static str {
        let operation = self.operations.get(row).and_then(|index| OPERATIONS.get(*index));
        operation.map_or("", |operation: &Operation| operation.name)
    }

    /// The lower of the two baselines: the stricter one for all others.
    fn baseline(&self, row: usize) -> Option<u64> {
        self.minima(row, Kind::Baseline).min()
    }

    fn minima(&self, row: usize, kind: Kind) -> impl Iterator<Item = u64> {
        let columns = self.columns.iter().filter(move |column| column.kind == kind);
        columns.filter_map(move |column| Some((*column.figures.get(row)?)?.minimum))
    }

    fn ratio(&self, row: usize, kind: Kind) -> Option<f64> {
        Some(ratio(self.minima(row, kind).min()?, self.baseline(row)?))
    }

    /// What a situation adds to the baseline.
    fn added(&self, row: usize, kind: Kind) -> Option<i64> {
        let (minimum, baseline) = (self.minima(row, kind).min()?, self.baseline(row)?);
        Some(minimum.cast_signed() - baseline.cast_signed())
    }
}

fn figure(mut samples: Samples) -> Result<Figure> {
    samples.sort_unstable();
    let minimum = samples.first().context("there are no samples")?;
    let median = samples.get(samples.len() / 2).context("there are no samples")?;
    Ok(Figure { minimum: *minimum, median: *median })
}

fn ratio(measured: u64, baseline: u64) -> f64 {
    measured as f64 / baseline as f64
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "### Linux {}\n", self.kernel)?;
        writeln!(
            out,
            "Executed instructions, kernel and user, for one operation: minimum (median)"
        )?;
        writeln!(
            out,
            "of the batches, and the minimum's ratio to the lower baseline. In the rows"
        )?;
        writeln!(out, "\"denied\" a process that nothing holds succeeds.\n")?;
        self.figures(out)?;
        writeln!(out, "\nAdded to the baseline, by the minima:\n")?;
        self.additions(out)
    }
}

impl Report {
    fn figures(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "| operation |")?;
        for column in &self.columns {
            write!(out, " {} |", column.title)?;
        }
        writeln!(out, "\n|---|{}", "---:|".repeat(self.columns.len()))?;
        for row in 0..self.operations.len() {
            write!(out, "| {} |", self.name(row))?;
            for column in &self.columns {
                let figure = column.figures.get(row).copied().flatten();
                match (figure, self.baseline(row)) {
                    (Some(Figure { minimum, median }), Some(baseline)) => {
                        let ratio = ratio(minimum, baseline);
                        let (minimum, median) = (Grouped(minimum), Grouped(median));
                        write!(out, " {minimum} ({median}) {ratio:.3} |")?;
                    }
                    _ => write!(out, " - |")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn additions(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| operation | untagged | tagged | Landlock | tagged / Landlock |")?;
        writeln!(out, "|---|---:|---:|---:|---:|")?;
        for row in 0..self.operations.len() {
            let tagged = self.added(row, Kind::Tagged(RULES));
            let tagged = tagged.or_else(|| self.added(row, Kind::TaggedWithHost(RULES)));
            let landlock = self.added(row, Kind::Landlock(RULES));
            write!(out, "| {} |", self.name(row))?;
            for added in [self.added(row, Kind::Untagged), tagged, landlock] {
                match added {
                    Some(added) => write!(out, " {added:+} |")?,
                    None => write!(out, " - |")?,
                }
            }
            match (tagged, landlock) {
                // Below, Landlock looks at nothing and the difference is noise.
                (Some(tagged), Some(landlock)) if landlock > 100 => {
                    writeln!(out, " {:.2} |", tagged as f64 / landlock as f64)?;
                }
                _ => writeln!(out, " - |")?,
            }
        }
        Ok(())
    }
}

/// Digits in groups of three.
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(out, "{}", self.0);
        }
        write!(out, "{} {:03}", Grouped(self.0 / 1000), self.0 % 1000)
    }
}
