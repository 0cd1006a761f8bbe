//! Amounts of memory and of processors as people write them: `2GiB`, `150%`.

use super::error::Flaw;

/// Least memory in which a program can begin at all.
const LEAST_MEMORY: u64 = 1 << 20;
/// Most memory that is a limit: no host has as much.
const MOST_MEMORY: u64 = 1 << 50;
/// Most hundredths of a processor that are a limit: a thousand processors.
const MOST_CPU: u32 = 100_000;
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Bytes.
pub(super) fn memory(text: &str) -> Result<u64, Flaw> {
    let Some((number, unit)) = parts(text) else { return Err(no_memory(text, "2GiB")) };
    let Some((_, shift)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let near = UNITS.iter().find(|(name, _)| {
            let letter = unit.trim_end_matches(['b', 'B', 'i']);
            name.get(..1).is_some_and(|first| first.eq_ignore_ascii_case(letter))
        });
        let proposal = near.map_or("1536MiB".to_owned(), |(name, _)| format!("{number}{name}"));
        return Err(no_memory(text, &proposal));
    };
    let bytes = number.saturating_mul(1 << shift);
    if (LEAST_MEMORY..=MOST_MEMORY).contains(&bytes) {
        return Ok(bytes);
    }
    let flaw = Flaw::new(format!("`{text}` is not between 1MiB and 1024TiB"));
    Err(flaw.help("write how much the tasks of a run may have together, such as `2GiB`"))
}

/// Hundredths of a processor.
pub(super) fn cpu(text: &str) -> Result<u32, Flaw> {
    let help = "write hundredths of one processor, such as `150%` for one and a half";
    let Some((number, "%")) = parts(text) else {
        return Err(Flaw::new(format!("`{text}` is no share of processors")).help(help));
    };
    let number = u32::try_from(number).ok();
    number
        .filter(|number| (1..=MOST_CPU).contains(number))
        .ok_or_else(|| Flaw::new(format!("`{text}` is not between 1% and {MOST_CPU}%")).help(help))
}

fn no_memory(text: &str, proposal: &str) -> Flaw {
    Flaw::new(format!("`{text}` is no amount of memory"))
        .help(format!("write a whole number with KiB, MiB, GiB or TiB, such as `{proposal}`"))
}

/// A whole number and what follows it.
fn parts(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}
