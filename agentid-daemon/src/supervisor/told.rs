//! How much an answer tells.

use serde::Serialize;

/// As many of these, from the first on, as take so many bytes as JSON; the first in any case.
pub fn within<T: Serialize>(all: impl IntoIterator<Item = T>, most: usize) -> Vec<T> {
    let mut bytes = 0;
    let mut told = Vec::new();
    for one in all {
        // What cannot be written would fail the whole answer.
        let length = serde_json::to_string(&one).map_or(usize::MAX, |text| text.len());
        bytes = length.saturating_add(bytes);
        if bytes > most && !told.is_empty() {
            break;
        }
        told.push(one);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_bounded_as_it_is_written() {
        let controls = "\u{1}".repeat(100);
        let all = || (0..10).map(|_| controls.clone());
        assert_eq!(within(all(), 10_000).len(), 10);
        assert_eq!(within(all(), 1300).len(), 2, "six bytes for each character");
        assert_eq!(within(all(), 1).len(), 1);
        assert_eq!(within(["one"; 0], 1).len(), 0);
    }
}
