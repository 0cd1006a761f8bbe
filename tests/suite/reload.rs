//! Policies are read again while runs live.

use std::fs;

use agentid_tests::{
    harness::{Daemon, Run, Scene, run::Terms, scene::USERS, wait},
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::EACCES;

fn digest(daemon: &Daemon) -> Result<String> {
    let policies = daemon.status()?.policies;
    let found = policies.into_iter().find(|policy| policy.name == "fixture");
    Ok(found.context("the policy is not offered")?.digest)
}

/// P9: new runs get the new version, runs that live keep theirs, and with a mistake anywhere all stays as it was.
#[test]
fn takes_all_policies_or_none() -> Result<()> {
    let daemon = Daemon::start()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Write };
    let file = daemon.scene().path().join("policies/fixture.toml");
    let mut before =
        USERS.into_iter().map(|uid| Run::of(&daemon, uid)).collect::<Result<Vec<_>>>()?;
    let first = digest(&daemon)?;
    let narrowed = Scene::POLICY.replace("\"read\", \"write\"", "\"read\"");

    fs::write(&file, narrowed.replace("ttl = ", "tll = "))?;
    daemon.reload()?;
    let told =
        || Ok(Some(daemon.status()?.policy_mistakes).filter(|mistakes| !mistakes.is_empty()));
    let mistakes = wait::until("the mistake is told", wait::SOON, told)?;
    assert!(mistakes.iter().any(|it| it.contains("fixture.toml") && it.contains("tll")));
    assert_eq!(digest(&daemon)?, first);
    let mut between = Run::of(&daemon, 1000)?;
    assert_eq!(between.errno(&step)?, 0);

    fs::write(&file, &narrowed)?;
    daemon.reload()?;
    let changed = || Ok((digest(&daemon)? != first).then_some(()));
    wait::until("the new version is offered", wait::SOON, changed)?;
    assert!(daemon.status()?.policy_mistakes.is_empty());
    for uid in USERS {
        let mut after = Run::launch(&daemon, &Terms { uid, ..Terms::default() })?;
        assert_eq!(after.errno(&step)?, EACCES, "uid {uid}: the new version");
    }
    for run in before.iter_mut().chain([&mut between]) {
        assert_eq!(run.errno(&step)?, 0, "what lives is bound to its own version");
    }
    // The last run of the old version goes, and the new version is none the worse for it.
    for run in before.into_iter().chain([between]) {
        daemon.revoke(run.id())?;
        drop(run);
    }
    let retired = || Ok(daemon.log().contains("bound to this version any more").then_some(()));
    wait::until("the old version is taken back", wait::SOON, retired)?;
    let mut after = Run::of(&daemon, 1000)?;
    assert_eq!(after.errno(&step)?, EACCES);
    let read = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    assert_eq!(after.errno(&read)?, 0);
    Ok(())
}
