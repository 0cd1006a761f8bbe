//! Who has come from whom, of all processes of the host.
//!
//! `/proc` is read process by process, while they start, end and lose their parents: one look may miss what moves. Whether
//! it may have is told by two looks, of which one is older than all that matters and one is younger.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use super::freezer::living_thread;

/// The processes that were alive when it was looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kin(BTreeMap<u32, Process>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// In clock ticks from the start of the host, which with the number tells one process from a later one.
    started: u64,
}

impl Kin {
    pub fn look() -> io::Result<Self> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(tgid) = name.to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
            // One that has ended meanwhile has no line.
            let Ok(stat) = fs::read(format!("/proc/{tgid}/stat")) else { continue };
            if let Some(process) = parse(&stat)
                && living_thread(tgid).is_some()
            {
                found.insert(tgid, process);
            }
        }
        Ok(Self(found))
    }

    pub fn knows(&self, tgid: u32) -> bool {
        self.0.contains_key(&tgid)
    }

    /// A process and all that have come from it.
    pub fn tree(&self, first: u32) -> BTreeSet<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (&tgid, process) in &self.0 {
            children.entry(process.parent).or_default().push(tgid);
        }
        let mut found = BTreeSet::from([first]);
        let mut open = vec![first];
        while let Some(parent) = open.pop() {
            for &child in children.get(&parent).into_iter().flatten() {
                if found.insert(child) {
                    open.push(child);
                }
            }
        }
        found
    }

    /// One of these processes that may have come from `first` and has lost whoever was between since the `earlier` look.
    ///
    /// Whoever loses its parent is given to one above (kernel/exit.c: `find_new_reaper`): the first process of its
    /// namespace, or one that asked for orphans. So it has another parent than before, which was of the tree or nobody
    /// known; or it has started since, and its parent is one from which `first` comes.
    pub fn stray(&self, earlier: &Self, first: u32, among: &BTreeSet<u32>) -> Option<u32> {
        let above = self.above(first);
        let before = earlier.tree(first);
        let may_be = |tgid: &u32| match (self.0.get(tgid), earlier.0.get(tgid)) {
            (Some(now), Some(then)) if then.started == now.started => {
                let known = before.contains(&then.parent) || !earlier.knows(then.parent);
                then.parent != now.parent && known
            }
            (Some(now), _) => above.contains(&now.parent),
            (None, _) => false,
        };
        among.iter().copied().find(may_be)
    }

    /// The processes from which one comes, and the first of the host.
    fn above(&self, tgid: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::from([1]);
        let mut next = self.0.get(&tgid);
        while let Some(process) = next {
            if !found.insert(process.parent) {
                break;
            }
            next = self.0.get(&process.parent);
        }
        found
    }
}

/// The parent is the second word after the name, which is in parentheses and may hold any; the start is the twentieth
/// (proc_pid_stat(5)).
fn parse(stat: &[u8]) -> Option<Process> {
    let stat = String::from_utf8_lossy(stat);
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let parent = words.nth(1)?.parse().ok()?;
    let started = words.nth(17)?.parse().ok()?;
    Some(Process { parent, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kin(processes: &[(u32, u32, u64)]) -> Kin {
        let of = |&(tgid, parent, started)| (tgid, Process { parent, started });
        Kin(processes.iter().map(of).collect())
    }

    /// The first of the host, somebody's shell, what it has started, and its child.
    const EARLIER: [(u32, u32, u64); 6] =
        [(1, 0, 0), (40, 1, 5), (50, 40, 7), (51, 50, 8), (52, 51, 9), (60, 40, 9)];

    #[track_caller]
    fn strays(later: &[(u32, u32, u64)], expected: Option<u32>) {
        let all: Vec<_> = EARLIER.iter().chain(later).copied().collect();
        // What is said later of a process is what holds.
        let (earlier, later) = (kin(&EARLIER), kin(&all));
        let among = BTreeSet::from([40, 60, 70]);
        assert_eq!(later.stray(&earlier, 50, &among), expected);
    }

    #[test]
    fn finds_who_has_lost_a_parent_of_the_tree() {
        strays(&[], None);
        let mut earlier = EARLIER.to_vec();
        earlier.push((53, 52, 9));
        let later = kin(&[(1, 0, 0), (50, 40, 7), (51, 50, 8), (53, 1, 9)]);
        let among = BTreeSet::from([53]);
        assert_eq!(later.stray(&kin(&earlier), 50, &among), Some(53), "its parent has ended");
        earlier.retain(|(tgid, ..)| *tgid != 52);
        assert_eq!(later.stray(&kin(&earlier), 50, &among), Some(53), "nobody knows its parent");
        earlier.push((52, 60, 9));
        assert_eq!(later.stray(&kin(&earlier), 50, &among), None, "its parent was somebody else's");
    }

    #[test]
    fn finds_who_has_started_since_and_may_be_an_orphan() {
        strays(&[(70, 1, 11)], Some(70));
        strays(&[(70, 40, 11)], Some(70));
        strays(&[(60, 1, 11)], Some(60));
        strays(&[(70, 60, 11)], None);
        strays(&[(71, 1, 11)], None);
    }

    #[test]
    fn finds_a_tree() {
        assert_eq!(kin(&EARLIER).tree(50), BTreeSet::from([50, 51, 52]));
        assert_eq!(kin(&EARLIER).tree(99), BTreeSet::from([99]));
        let here = Kin::look().unwrap();
        assert!(here.above(std::process::id()).contains(&std::os::unix::process::parent_id()));
    }

    #[test]
    fn reads_a_name_with_anything_in_it() {
        let line = b"7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(parse(line), Some(Process { parent: 3, started: 4711 }));
        assert_eq!(parse(b"7 (a) S 3"), None);
    }
}
