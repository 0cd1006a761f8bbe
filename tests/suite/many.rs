//! Runs of one policy are told apart.

use std::collections::BTreeSet;

use agentid_tests::{
    harness::{Daemon, Run, scene::USERS},
    step::{Open, Step},
};
use anyhow::Result;
use libc::EPERM;

const RUNS: usize = 100;

/// P4, P10: one of a hundred runs of one policy is revoked, and the others are denied nothing that they were not.
#[test]
fn revoking_one_of_a_hundred_denies_nothing_to_the_others() -> Result<()> {
    let daemon = Daemon::shared()?;
    let users = USERS.iter().copied().cycle().take(RUNS);
    let mut runs = users.map(|uid| Run::of(&daemon, uid)).collect::<Result<Vec<_>>>()?;
    let ids: BTreeSet<String> = runs.iter().map(|run| run.id().to_owned()).collect();
    assert_eq!(ids.len(), RUNS, "each run has its own ID");
    let listed: BTreeSet<String> = daemon.ps()?.into_iter().map(|view| view.id).collect();
    assert_eq!(listed, ids);

    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let denials = || {
        let of = |view: agentid_tests::harness::view::RunView| {
            (view.id, view.totals.map(|totals| (totals.denied, totals.faults)))
        };
        Ok::<_, anyhow::Error>(daemon.ps()?.into_iter().map(of).collect::<BTreeSet<_>>())
    };
    let mut before = denials()?;
    let mut one = runs.swap_remove(RUNS / 2);
    daemon.revoke(one.id())?;
    assert_eq!(one.errno(&step)?, EPERM);
    for run in &mut runs {
        assert_eq!(run.errno(&step)?, 0);
    }
    let mut after = denials()?;
    before.retain(|(id, _)| id != one.id());
    after.retain(|(id, _)| id != one.id());
    assert_eq!(before.len(), RUNS - 1);
    assert_eq!(before, after);
    Ok(())
}
