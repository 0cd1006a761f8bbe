//! To whose account it goes what a user takes of what there is for all.
//!
//! `newuidmap` gives a user tens of thousands of other numbers to be somebody by, as the lines of `/etc/subuid` say
//! (subuid(5): `WHO:FIRST:COUNT`). Whoever is one of them has no part of his own: all numbers of a line have one together.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, PoisonError},
};

use tracing::warn;

const FILE: &str = "/etc/subuid";
/// Most that is read of it, in bytes: some 30,000 users.
const MOST: u64 = 1 << 20;

static KNOWN: Mutex<Accounts> = Mutex::new(Accounts { read: None, ranges: Vec::new() });

/// The number under which everything is counted that a user takes: his own, or the first of the line that he is in.
pub fn of(uid: u32) -> u32 {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.keep_up();
    account(&known.ranges, uid)
}

/// By which it is seen that a file is another one.
type Stamp = (u64, i64, i64, u64);

struct Accounts {
    /// Which file was read; nothing of none.
    read: Option<Stamp>,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

impl Accounts {
    fn keep_up(&mut self) {
        let stamp =
            fs::metadata(FILE).ok().map(|it| (it.ino(), it.mtime(), it.mtime_nsec(), it.len()));
        if stamp == self.read {
            return;
        }
        self.read = stamp;
        self.ranges = match read() {
            Ok(text) => ranges(&text),
            // As good as none: there is nobody then who could be somebody else.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                warn!(%error, "{FILE} cannot be read; what its users take is counted for each number");
                Vec::new()
            }
        };
    }
}

fn read() -> io::Result<String> {
    let mut text = Vec::new();
    File::open(FILE)?.take(MOST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Lines that are none are left out, as newuidmap(1) leaves them out.
fn ranges(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        let mut parts = line.rsplitn(3, ':');
        let count = parts.next()?.trim().parse().ok()?;
        let first = parts.next()?.trim().parse().ok()?;
        parts.next().filter(|who| !who.is_empty())?;
        Some(Range { first, count })
    };
    text.lines().filter_map(line).collect()
}

fn account(ranges: &[Range], uid: u32) -> u32 {
    let holds = |range: &&Range| uid.checked_sub(range.first).is_some_and(|at| at < range.count);
    // Nobody becomes root by that, and whoever is in two lines is in the first.
    ranges.iter().find(holds).filter(|_| uid != 0).map_or(uid, |range| range.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_of_a_line_are_one_account() {
        let ranges = ranges("alice:100000:65536\nnonsense\n1001:165536:65536\n:5:5\nbob:x:9\n");
        assert_eq!(ranges.len(), 2);
        for (uid, expected) in [
            (0, 0),
            (1000, 1000),
            (99_999, 99_999),
            (100_000, 100_000),
            (165_535, 100_000),
            (165_536, 165_536),
            (200_000, 165_536),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(account(&ranges, uid), expected, "{uid}");
        }
        assert_eq!(account(&[Range { first: 0, count: u32::MAX }], 0), 0);
        assert_eq!(account(&[Range { first: u32::MAX, count: u32::MAX }], u32::MAX), u32::MAX);
    }
}
