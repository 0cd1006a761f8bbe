//! Owners for whom nothing is launched.

use agentid_tests::{
    harness::{
        Daemon, Run,
        cli::output,
        run::Terms,
        scene::{USER, USERS},
        view::RevokedAll,
    },
    step::{Open, Step},
};
use anyhow::Result;
use libc::EPERM;
use serde::Deserialize;

#[derive(Deserialize)]
struct Denied {
    live: u64,
}

#[derive(Deserialize)]
struct Who {
    run: Option<String>,
}

/// An owner who is denied has nothing launched, also by the next daemon; what lives goes on.
#[test]
fn nothing_is_launched_for_a_denied_owner() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let mut living = Run::of(&daemon, USER)?;
    let refused = daemon.complaint(USER, 1, &["deny-owner", "suite"])?;
    assert!(refused.contains("for operators"), "{refused}");
    let denied: Denied = daemon.ask(&["deny-owner", "suite", "--reason", "left"])?;
    assert_eq!(denied.live, 1);
    for again in [false, true] {
        if again {
            daemon.stop()?;
            daemon.start_again()?;
        }
        let launch = ["run", "--policy", "fixture", "--agent", "a", "--owner", "suite", "--task"];
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        let rest = ["t", "--param", &workspace, "--", "/usr/bin/agentid-probe"];
        for uid in USERS {
            let refused = daemon.complaint(uid, 125, &[&launch[..], &rest].concat())?;
            assert!(refused.contains("for owner \"suite\": left"), "uid {uid}: {refused}");
        }
        assert_eq!(living.errno(&step)?, 0);
    }
    let _: Denied = daemon.ask(&["allow-owner", "suite"])?;
    Run::of(&daemon, USER)?;
    Ok(())
}

/// P4: an owner who is off-boarded has no run below his runs either, and one command ends all that he has.
#[test]
fn an_owner_is_off_boarded() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let of = |owner, uid| Run::launch(&daemon, &Terms { owner, uid, ..Terms::default() });
    let mut other = of("bob", USER)?;
    let mut own = [of("alice", 0)?, of("alice", USER)?];
    let parent = own[1].id().to_owned();
    let below = Terms { owner: "alice", uid: USER, parent: Some(&parent), ..Terms::default() };
    let mut child = Run::launch(&daemon, &below)?;
    let denied: Denied = daemon.ask(&["deny-owner", "alice"])?;
    assert_eq!(denied.live, 3);
    for uid in USERS {
        let refused = Run::launch(&daemon, &Terms { uid, ..below.clone() });
        let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(refused.contains("for owner \"alice\""), "uid {uid}: {refused}");
    }
    let revoked: RevokedAll = daemon.ask(&["revoke", "--owner", "alice", "--yes"])?;
    // Whoever is below another one that is meant ends with that one.
    assert_eq!(revoked.runs.iter().map(|run| 1 + run.also.len()).sum::<usize>(), 3);
    for run in own.iter_mut().chain([&mut child]) {
        assert_eq!(run.errno(&step)?, EPERM);
    }
    assert_eq!(other.errno(&step)?, 0);
    let _: Denied = daemon.ask(&["allow-owner", "alice"])?;
    of("alice", USER)?;
    Ok(())
}

/// The tree has a run's processes, and nobody's run is said to be nobody's.
#[test]
fn a_tree_shows_what_belongs_together() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = Run::of(&daemon, USER)?;
    assert_eq!(run.errno(&Step::Park(2))?, 0);
    let tree = output(daemon.agentid().arg("tree"), &[0])?;
    let own = tree.lines().filter(|line| line.contains("agentid-probe")).count();
    assert_eq!(own, 3, "{tree}");
    assert!(tree.contains("probe for suite, test  fixture  active"), "{tree}");
    assert!(daemon.ask::<Who>(&["whoami"])?.run.is_none());
    Ok(())
}
