//! Which processes have the same memory, the same descriptors, or the same working folder and root.

use std::collections::BTreeMap;

use agentid_common::record::ShareLine;

/// Something that a process of some has in common with one that is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    pub inside: u32,
    pub outside: u32,
    pub what: &'static str,
}

/// Where a task has something; 0 when it has let go of it.
type At = fn(&ShareLine) -> u64;

/// What can be shared, and where a task has it.
const WHAT: [(&str, At); 3] = [
    ("memory", |line| line.memory_at),
    ("descriptors", |line| line.descriptors_at),
    ("working folder and root", |line| line.folder_at),
];

/// The first thing that a task outside has too, by a list of all tasks.
pub fn shared(all: &[ShareLine], is_inside: impl Fn(u32) -> bool) -> Option<Sharing> {
    let (inside, outside): (Vec<&ShareLine>, Vec<&ShareLine>) =
        all.iter().partition(|line| is_inside(line.tgid));
    WHAT.into_iter().find_map(|(what, at)| {
        // A task that is on its way out has let go of it.
        let held: BTreeMap<u64, u32> =
            inside.iter().map(|line| (at(line), line.tgid)).filter(|(at, _)| *at != 0).collect();
        outside.iter().find_map(|line| {
            let inside = *held.get(&at(line))?;
            Some(Sharing { inside, outside: line.tgid, what })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tgid: u32, [memory_at, descriptors_at, folder_at]: [u64; 3]) -> ShareLine {
        ShareLine { memory_at, descriptors_at, folder_at, tgid, tid: tgid, ..ShareLine::default() }
    }

    #[test]
    fn whoever_has_the_same_is_found_and_nobody_who_has_let_go_of_it() {
        let own = [line(7, [1, 2, 3]), line(8, [4, 2, 3]), line(9, [0, 0, 0])];
        let found = |other: ShareLine| {
            let all: Vec<ShareLine> = own.into_iter().chain([other]).collect();
            shared(&all, |tgid| (7..=9).contains(&tgid))
        };
        assert_eq!(found(line(5, [11, 12, 13])), None);
        assert_eq!(found(line(5, [0, 0, 0])), None, "it is on its way out, as one of them is");
        let sharing = |inside, what| Some(Sharing { inside, outside: 5, what });
        assert_eq!(found(line(5, [4, 12, 13])), sharing(8, "memory"));
        assert_eq!(found(line(5, [11, 2, 13])), sharing(8, "descriptors"));
        assert_eq!(found(line(5, [11, 12, 3])), sharing(8, "working folder and root"));
        assert_eq!(found(line(8, [4, 2, 3])), None, "they may share among themselves");
    }
}
