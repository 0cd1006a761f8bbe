//! How many tests passed, from what test programs print.

/// Counts of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Passed in an earlier run, with the same bytes in the guest, and not run this time.
    pub before: usize,
}

impl Tally {
    /// Adds the summary of one test program, if `line` is that.
    pub fn read_line(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        let count = |word: &str| {
            let mut parts = counts.split(['.', ';']).map(str::trim);
            parts.find_map(|part| part.strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.skipped += count("ignored");
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.before += other.before;
    }

    pub fn sum(self) -> usize {
        self.passed + self.failed + self.skipped
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, failed, skipped, before } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")?;
        if *before > 0 { write!(formatter, ", {before} passed before") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn adds_up_summaries() {
        let mut tally = Tally::default();
        tally.read_line("running 3 tests");
        tally.read_line(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.1s",
        );
        tally.read_line("noise test result: FAILED. 2 passed; 4 failed; 0 ignored");
        assert_eq!(tally, Tally { passed: 5, failed: 4, skipped: 1, before: 0 });
        assert_eq!(tally.to_string(), "5 passed, 4 failed, 1 skipped");
        tally.add(Tally { before: 7, ..Tally::default() });
        assert_eq!(tally.to_string(), "5 passed, 4 failed, 1 skipped, 7 passed before");
    }
}
