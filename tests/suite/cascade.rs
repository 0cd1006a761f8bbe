//! What stands on a run ends with it, and is held with it, however much that is.

use agentid_common::instance::State;
use agentid_tests::{
    harness::{
        Crowd, Daemon, Run,
        scene::USERS,
        table::Table,
        view::{Changed, Revoked},
    },
    step::{Open, Step},
};
use anyhow::Result;
use libc::EPERM;

/// How many runs stand right on each run of the level above: what is left of a thousand stands on the third level.
const LEVELS: [usize; 2] = [4, 10];

/// Descendants of a run on three levels below it, so many in all. Every run of a level has as many below it, save the last.
fn grow(crowd: &mut Crowd, daemon: &Daemon, top: &str, count: usize) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut level = vec![top.to_owned()];
    for children in LEVELS {
        let mut next = Vec::new();
        for parent in &level {
            let launched = crowd.launch(daemon, "fixture", Some(parent), children)?;
            next.extend(launched.into_iter().map(|one| one.id));
        }
        ids.extend(next.iter().cloned());
        level = next;
    }
    let rest = count - ids.len();
    for (number, parent) in level.iter().enumerate() {
        let share = rest / level.len() + usize::from(number < rest % level.len());
        let launched = crowd.launch(daemon, "fixture", Some(parent), share)?;
        ids.extend(launched.into_iter().map(|one| one.id));
    }
    Ok(ids)
}

/// In which state the slots of these runs are in the kernel's table.
fn states(table: &Table, slots: &[u32]) -> Result<Vec<State>> {
    slots.iter().map(|slot| Ok(table.get(*slot)?.state)).collect()
}

/// P4: over four levels a thousand runs are denied everything by one store to the slot of the topmost, and permitted by one;
/// theirs say all the while that they are active. A revocation of it ends them all, and nobody beside.
#[test]
fn a_thousand_descendants_hang_on_one_slot() -> Result<()> {
    let daemon = Daemon::shared()?;
    let path = daemon.scene().granted();
    let step = Step::Open { path: path.clone(), how: Open::Read };
    for (uid, count) in USERS.into_iter().zip([1000, 100]) {
        let mut top = Run::of(&daemon, uid)?;
        let mut beside = Run::of(&daemon, uid)?;
        let mut crowd = Crowd::of(uid)?;
        let ids = grow(&mut crowd, &daemon, top.id(), count)?;
        assert_eq!(ids.len(), count);
        let table = Table::open()?;
        let slots = table.slots(&ids)?;
        crowd.all_open(&path, count)?;

        // Who stands still could not be asked.
        let id = top.id().to_owned();
        let suspend = ["suspend", "--no-freeze", &id];
        let resume = ["resume", &id];
        for (words, errno, phase) in
            [(&suspend[..], EPERM, State::SUSPENDED), (&resume, 0, State::ACTIVE)]
        {
            let verb = words[0];
            let changed: Changed = daemon.ask(words)?;
            assert_eq!(changed.runs.len(), 1, "uid {uid}: {verb}");
            assert_eq!(table.find(top.id())?.1.state, phase);
            assert!(states(&table, &slots)?.iter().all(|state| *state == State::ACTIVE), "{verb}");
            match errno {
                0 => crowd.all_open(&path, count)?,
                _ => assert_eq!(crowd.open(&path)?, [(errno, count)].into(), "uid {uid}: {verb}"),
            }
            assert_eq!(top.errno(&step)?, errno, "uid {uid}: {verb}");
        }

        let revoked: Revoked = daemon.ask(&["revoke", top.id()])?;
        assert_eq!(revoked.also.len(), count, "uid {uid}");
        assert_eq!(crowd.open(&path)?, [(EPERM, count)].into(), "uid {uid}");
        assert_eq!(top.errno(&step)?, EPERM);
        assert_eq!(beside.errno(&step)?, 0, "uid {uid}: who stands beside them");
        drop(crowd);
    }
    Ok(())
}
