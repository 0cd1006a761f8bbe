//! A run is ended from the command line while there is no daemon.

use std::{collections::BTreeMap, fs};

use agentid_common::instance::{Instance, State};
use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::{USER, USERS},
        table::Table,
        view::{Revoked, RevokedAll},
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::EPERM;

fn read(daemon: &Daemon) -> Step {
    Step::Open { path: daemon.scene().granted(), how: Open::Read }
}

/// The arguments that end these runs.
fn revoke(daemon: &Daemon, which: &[&str]) -> Vec<String> {
    let config = daemon.scene().settings().display().to_string();
    let fixed = ["revoke", "--offline", "--config", &config, "--reason", "no daemon"];
    fixed.iter().chain(which).map(|text| (*text).to_owned()).collect()
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// P4, P6: with the daemon dead one command denies a run everything and kills its whole tree; its sibling notices nothing,
/// and the next daemon knows who it was and why.
#[test]
fn ends_one_run_with_the_daemon_dead() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = read(&daemon);
    for uid in USERS {
        let killed = Terms { policy: "killed", uid, ..Terms::default() };
        let mut tree = Run::launch(&daemon, &killed)?;
        assert_eq!(tree.errno(&Step::Park(10))?, 0);
        let (mut denied, mut sibling) = (Run::of(&daemon, uid)?, Run::of(&daemon, uid)?);
        daemon.kill9()?;
        for (run, tasks, remaining) in [(&mut tree, 11, 0), (&mut denied, 1, 1)] {
            assert_eq!(run.errno(&step)?, 0, "uid {uid}: before");
            let revoked: Revoked = daemon.ask(&texts(&revoke(&daemon, &[run.id()])))?;
            assert_eq!((revoked.tasks, revoked.remaining), (tasks, remaining), "uid {uid}");
        }
        assert!(!tree.await_end()?.success(), "uid {uid}");
        assert_eq!(denied.errno(&step)?, EPERM, "uid {uid}");
        assert_eq!(sibling.errno(&step)?, 0, "uid {uid}");
        daemon.start_again()?;
        assert_eq!(denied.errno(&step)?, EPERM, "uid {uid}: once the daemon is back");
        assert_eq!(sibling.errno(&step)?, 0, "uid {uid}: once the daemon is back");
        for run in [&tree, &denied] {
            let end = run.view(&daemon)?.end.context("no end is noted")?;
            assert_eq!((end.ending.as_str(), end.by_uid), ("revoked", Some(0)), "uid {uid}");
            assert_eq!(end.reason.as_deref(), Some("no daemon"), "uid {uid}");
        }
        wait::until("the tree is over", wait::SOON, || {
            Ok((tree.view(&daemon)?.phase == "ended").then_some(()))
        })?;
        assert_eq!(sibling.view(&daemon)?.phase, "active", "uid {uid}");
    }
    Ok(())
}

/// P4: runs are selected as they are with a daemon, those below end with them, and others go on.
#[test]
fn ends_a_selection_and_what_is_below_it_with_the_daemon_dead() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = read(&daemon);
    let terms = |label| Terms { uid: USER, label, ..Terms::default() };
    let mut above = Run::launch(&daemon, &terms(Some("team=red")))?;
    let mut below = Run::launch(&daemon, &Terms { parent: Some(above.id()), ..terms(None) })?;
    let mut other = Run::launch(&daemon, &terms(Some("team=blue")))?;
    daemon.kill9()?;
    let ask = |more: &[&str]| {
        let which: Vec<&str> = ["--label", "team=red"].iter().chain(more).copied().collect();
        revoke(&daemon, &which)
    };
    // Nobody can be asked, so that nothing is done.
    let said = daemon.complaint(0, 2, &texts(&ask(&[])))?;
    assert!(said.contains("revoke 1 run") && said.contains("--yes"), "{said}");
    assert_eq!(above.errno(&step)?, 0);
    let revoked: RevokedAll = daemon.ask(&texts(&ask(&["--yes"])))?;
    let [one] = revoked.runs.as_slice() else { panic!("{revoked:?}") };
    assert_eq!(
        (one.id.as_str(), one.also.as_slice()),
        (above.id(), [below.id().to_owned()].as_slice())
    );
    assert_eq!((above.errno(&step)?, below.errno(&step)?), (EPERM, EPERM));
    assert_eq!(other.errno(&step)?, 0);
    daemon.start_again()?;
    let end = below.view(&daemon)?.end.context("no end is noted")?;
    assert_eq!(end.ending, "parent_ended");
    Ok(())
}

/// P4, P9: a run whose file cannot be read is ended with all others, by its ID or with `--all`, and the file is left as it is.
#[test]
fn ends_a_run_of_which_nothing_can_be_read() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = read(&daemon);
    let (mut lost, mut other) = (Run::of(&daemon, USER)?, Run::of(&daemon, USER)?);
    daemon.kill9()?;
    let file = daemon.scene().state().join(format!("invocations/{}.json", lost.id()));
    let good = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    fs::write(&file, b"{")?;
    let outcome = (|| -> Result<()> {
        let revoked: Revoked = daemon.ask(&texts(&revoke(&daemon, &[lost.id()])))?;
        // What becomes of its tasks is not known either.
        assert_eq!((revoked.tasks, revoked.remaining), (1, 0));
        assert!(!lost.await_end()?.success());
        assert_eq!(other.errno(&step)?, 0);
        assert_eq!(fs::read(&file)?, b"{");
        let revoked: RevokedAll = daemon.ask(&texts(&revoke(&daemon, &["--all", "--yes"])))?;
        let tasks = revoked.runs.iter().map(|run| (run.id.as_str(), run.tasks));
        let tasks: BTreeMap<&str, u64> = tasks.collect();
        assert_eq!(tasks, BTreeMap::from([(lost.id(), 0), (other.id(), 1)]));
        assert_eq!(other.errno(&step)?, EPERM);
        Ok(())
    })();
    fs::write(&file, good)?;
    outcome?;
    daemon.start_again()?;
    assert_eq!(lost.view(&daemon)?.end.context("no end is noted")?.ending, "revoked");
    Ok(())
}

/// P10: beside a daemon nothing is done, and nothing for a user; both are told what to do.
#[test]
fn is_refused_beside_a_daemon_and_for_users() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = read(&daemon);
    let mut run = Run::of(&daemon, USER)?;
    let arguments = revoke(&daemon, &[run.id()]);
    let said = daemon.complaint(0, 1, &texts(&arguments))?;
    assert!(said.contains("another agentid daemon runs already"), "{said}");
    assert!(said.contains("leave --offline out"), "{said}");
    daemon.kill9()?;
    let said = daemon.complaint(USER, 1, &texts(&arguments))?;
    assert!(said.contains("root's to write"), "{said}");
    assert_eq!(run.errno(&step)?, 0);
    daemon.start_again()?;
    assert_eq!(run.errno(&step)?, 0);
    assert_eq!(run.view(&daemon)?.phase, "active");
    Ok(())
}

/// P4: what a revocation has left undone is done by the next one: a task that sleeps where no hook is, whose run is over
/// by the kernel's table and by its file.
#[test]
fn can_be_repeated_until_nothing_is_left() -> Result<()> {
    let mut daemon = Daemon::start()?;
    for uid in USERS {
        let killed = Terms { policy: "killed", uid, ..Terms::default() };
        let mut run = Run::launch(&daemon, &killed)?;
        daemon.kill9()?;
        // As if it had died right after the denial.
        let table = Table::open()?;
        let (slot, before) = table.find(run.id())?;
        table.set(slot, Instance { state: State::REVOKED, ..before })?;
        let revoked: RevokedAll = daemon.ask(&texts(&revoke(&daemon, &["--all", "--yes"])))?;
        let [one] = revoked.runs.as_slice() else { panic!("uid {uid}: {revoked:?}") };
        assert_eq!((one.id.as_str(), one.remaining), (run.id(), 0), "uid {uid}");
        assert!(!run.await_end()?.success(), "uid {uid}");
        let again: RevokedAll = daemon.ask(&texts(&revoke(&daemon, &["--all", "--yes"])))?;
        assert_eq!(again.runs.iter().map(|run| run.tasks).sum::<u64>(), 0, "uid {uid}");
        daemon.start_again()?;
        wait::until("the run is over", wait::SOON, || {
            Ok((run.view(&daemon)?.phase == "ended").then_some(()))
        })?;
    }
    Ok(())
}

/// P10: of a run that is over it is said that it is, and of one that never was that nobody knows it.
#[test]
fn says_what_has_become_of_a_run_that_is_over() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut run = Run::launch(&daemon, &Terms { policy: "killed", ..Terms::default() })?;
    daemon.revoke(run.id())?;
    assert!(!run.await_end()?.success());
    wait::until("the run is over", wait::SOON, || {
        Ok((run.view(&daemon)?.phase == "ended").then_some(()))
    })?;
    daemon.kill9()?;
    for (id, words) in [(run.id(), "is over already: revoked"), ("0123456789ab", "no run")] {
        let said = daemon.complaint(0, 1, &texts(&revoke(&daemon, &[id])))?;
        assert!(said.contains(words), "{id}: {said}");
    }
    Ok(())
}
