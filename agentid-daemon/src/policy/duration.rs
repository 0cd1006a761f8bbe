//! Spans of time as people write them: `90s`, `30m`, `1h30m`, `7d`.

use std::time::Duration;

use super::error::Flaw;

/// Longest time a run can be given. Whatever lives longer is not one run of an agent.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn parse(text: &str) -> Result<Duration, Flaw> {
    let total = seconds(text).ok_or_else(|| {
        Flaw::new(format!("`{text}` is not a duration"))
            .help("write numbers with s, m, h or d, such as `30m` or `1h30m`")
    })?;
    let duration = Duration::from_secs(total);
    if duration.is_zero() {
        return Err(
            Flaw::new("duration is zero").help("write how long a run may live, such as `30m`")
        );
    }
    if duration > LONGEST {
        return Err(Flaw::new(format!("`{text}` is longer than 365d")).help("write at most `365d`"));
    }
    Ok(duration)
}

fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|sign: char| !sign.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = match rest.as_bytes().get(digits)? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 24 * 3600,
            _ => return None,
        };
        // `30m1h` and `1h1h` are more likely a slip than a wish.
        if unit >= smallest {
            return None;
        }
        smallest = unit;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(digits + 1..)?;
    }
    (smallest != u64::MAX).then_some(total)
}
