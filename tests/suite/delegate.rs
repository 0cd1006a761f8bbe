//! A run starts another one below itself.
//!
//! Runs that ask are in audit mode, so that what they execute on the way needs no rule.

use agentid_common::instance::{Instance, State};
use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        cli::AGENTID,
        scene::{PROBE, USERS},
        table::Table,
        view::{RunView, What},
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, EPERM};

/// `top` grants reading alone. `top` and `middle` delegate to what stands behind them.
fn scene() -> Result<Scene> {
    let audited = |name: &str, delegate: &str| {
        let text = Scene::POLICY.replace("\"fixture\"", &format!("\"{name}\""));
        text.replace("on_end", "mode = \"audit\"\n        on_end") + "[delegate]\n" + delegate
    };
    let top = audited("top", "to = ['middle', 'fixture']\ndepth = 3\nfan_out = 1")
        .replace("\"read\", \"write\", \"create\", \"exec\"", "\"read\"");
    let middle = audited("middle", "to = ['middle', 'fixture']\ndepth = 2");
    let flat = audited("flat", "to = ['middle']");
    Scene::with(&[("fixture", Scene::POLICY), ("top", &top), ("middle", &middle), ("flat", &flat)])
}

fn open(daemon: &Daemon, how: Open) -> Step {
    Step::Open { path: daemon.scene().granted(), how }
}

/// P2, P4: a delegated run is held to its own rules and to those above, and is a run of its own.
#[test]
fn a_delegated_run_has_no_right_that_its_parent_lacks() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let table = Table::open()?;
    for uid in USERS {
        let mut run = Run::delegated(&daemon, uid, &["top", "fixture"], "spawn")?;
        assert_eq!(run.errno(&open(&daemon, Open::Read))?, 0, "uid {uid}: both grant reading");
        let write = open(&daemon, Open::Write);
        assert_eq!(run.errno(&write)?, EACCES, "uid {uid}: its parent does not grant writing");
        let view = run.view(&daemon)?;
        assert_eq!(view.owner, "suite", "the owner is its parent's");
        let issuer = view.issued_by.as_ref().context("nobody has asked for it")?;
        let (executable, process) = (issuer.executable.as_deref(), issuer.tgid);
        assert_eq!((issuer.uid, executable), (uid, Some(AGENTID)), "it has asked for itself");
        assert!(process != run.tgid(), "and is a child of what was launched");
        let [parent] = view.above.as_slice() else { panic!("{view:?}") };
        let above = daemon.show(parent)?;
        assert_eq!((view.tasks, above.tasks), (1, 1), "each task is counted in one run");
        let deadline = |id: &str| Ok::<u64, anyhow::Error>(table.find(id)?.1.deadline);
        assert!(deadline(&view.id)? <= deadline(parent)?, "it ends with its parent at the latest");
        assert!(run.finish()?.success());
        let gone = || Ok(daemon.ps()?.is_empty().then_some(()));
        wait::until("both runs are over by themselves", wait::SOON, gone)?;
        for id in [&view.id, parent] {
            let end = daemon.show(id)?.end.map(|end| end.ending);
            assert_eq!(end.as_deref(), Some("completed"));
        }
    }
    Ok(())
}

/// P4: over four levels one store denies the lowest run, and a revocation of the topmost ends all.
#[test]
fn four_levels_end_with_the_topmost() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let table = Table::open()?;
    let levels = ["top", "middle", "middle", "fixture"];
    for uid in USERS {
        let mut run = Run::delegated(&daemon, uid, &levels, "spawn")?;
        let step = open(&daemon, Open::Read);
        assert_eq!(run.errno(&step)?, 0);
        let above = run.view(&daemon)?.above;
        assert_eq!(above.len(), 3);
        let denied = Step::Open { path: daemon.scene().denied(), how: Open::Read };
        assert_eq!(run.errno(&denied)?, EACCES, "uid {uid}");
        let of_denial = || {
            let events = daemon.events(run.id())?.into_iter();
            let denials = events.filter(|event| matches!(event.what, What::Access(_)));
            Ok(denials.filter_map(|event| event.run).next_back())
        };
        let named = wait::until("the denial is told", wait::SOON, of_denial)?;
        assert_eq!((named.id.as_str(), &named.above), (run.id(), &above), "uid {uid}");
        for id in &above {
            let (slot, own) = table.find(id)?;
            table.set(slot, Instance { state: State::REVOKED, ..own })?;
            let errno = run.errno(&step);
            table.set(slot, own)?;
            assert_eq!(errno?, EPERM, "uid {uid}");
            assert_eq!(run.errno(&step)?, 0, "uid {uid}");
        }
        let revoked = daemon.revoke(&above[2])?;
        let mut also = revoked.also;
        also.sort_unstable();
        let mut below = vec![above[0].clone(), above[1].clone(), run.id().to_owned()];
        below.sort_unstable();
        assert_eq!(also, below);
        assert_eq!(run.errno(&step)?, EPERM);
    }
    Ok(())
}

/// P2: what the policies do not delegate is not launched, and nothing of the command runs.
#[test]
fn refuses_what_is_not_delegated() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let cases: [(&[&str], &str, &str); 5] = [
        (&["top", "top"], "spawn", "does not delegate to policy \"top\""),
        (&["top", "nothing"], "spawn", "does not delegate to policy \"nothing\""),
        (&["flat", "middle", "fixture"], "spawn", "lets 1 levels of runs stand below"),
        (&["top", "fixture"], "twice", "have 1 runs right below it"),
        (&["top", "middle", "middle", "middle", "fixture"], "spawn", "levels of runs stand below"),
    ];
    for uid in USERS {
        for (policies, way, expected) in &cases {
            let error = match Run::delegated(&daemon, uid, policies, way) {
                Ok(run) => panic!("uid {uid}: {policies:?} gave {}", run.id()),
                Err(error) => format!("{error:#}"),
            };
            assert!(error.contains(expected), "uid {uid}: {error}");
        }
        // The first process of a run that asks for itself would end its own run by leaving it.
        let mut command = daemon.agentid();
        command.args(["run", "--policy", "top", "--agent", "a", "--owner", "o", "--task", "t"]);
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        command.args(["--param", &workspace, "--", "/usr/bin/agentid", "--socket"]);
        command.arg(daemon.scene().socket()).args(["delegate", "--policy", "fixture"]);
        command.args(["--param", &workspace, "--", PROBE]);
        let alone = Run::start(&daemon, command, uid, std::process::Stdio::piped());
        let error = alone.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains("is the last one of its run"), "uid {uid}: {error}");
    }
    Ok(())
}

/// P4: with `on_excess = "end"` a run that asks for more than it may have is ended for it; others are told.
#[test]
fn ends_a_run_that_asks_for_more_runs_than_it_may_have() -> Result<()> {
    let text = Scene::POLICY.replace("\"fixture\"", "\"greedy\"");
    let text = text.replace("on_end", "mode = \"audit\"\n        on_end");
    let greedy = text.clone() + "[delegate]\nto = ['fixture']\nfan_out = 1\non_excess = \"end\"";
    let deep = text.replace("\"greedy\"", "\"deep\"")
        + "[delegate]\nto = ['deep', 'fixture']\ndepth = 1\non_excess = \"end\"";
    let policies = [("fixture", Scene::POLICY), ("greedy", &greedy), ("deep", &deep)];
    let daemon = Daemon::start_in(Scene::with(&policies)?)?;
    for (earlier, uid) in USERS.into_iter().enumerate() {
        let sibling = Run::delegated(&daemon, uid, &["greedy", "fixture"], "spawn")?;
        assert!(Run::delegated(&daemon, uid, &["greedy", "fixture"], "twice").is_err());
        let all: Vec<RunView> = daemon.ask(&["ps", "-a"])?;
        let ends = all.iter().filter(|run| run.policy.starts_with("greedy@"));
        let ends = ends.filter_map(|run| run.end.as_ref());
        let ends: Vec<_> = ends.filter(|end| end.ending == "limit_exceeded").collect();
        assert_eq!(ends.len(), earlier + 1, "uid {uid}: {all:?}");
        for end in ends {
            assert_eq!(end.reason.as_deref(), Some("it asked for one more run below it than 1"));
        }
        // Too deep is too many as well.
        assert!(Run::delegated(&daemon, uid, &["deep", "deep", "fixture"], "spawn").is_err());
        let all: Vec<RunView> = daemon.ask(&["ps", "-a", "--policy", "deep"])?;
        let ends = all.iter().filter_map(|run| run.end.as_ref());
        let ends: Vec<_> = ends.filter(|end| end.ending == "limit_exceeded").collect();
        assert_eq!(ends.len(), earlier + 1, "uid {uid}: {all:?}");
        assert_eq!(sibling.view(&daemon)?.phase, "active");
    }
    Ok(())
}

/// P4: the end of a delegated run leaves its parent as it was.
#[test]
fn the_end_of_a_child_leaves_its_parent_alone() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let mut parent = Run::delegated(&daemon, uid, &["top", "fixture"], "before")?;
        let view = parent.view(&daemon)?;
        assert_eq!((view.phase.as_str(), view.above.len()), ("active", 0));
        // Whoever has asked for the child may still be about to go.
        let alone = || Ok((parent.view(&daemon)?.tasks == 1).then_some(()));
        wait::until("the parent's one task is left", wait::SOON, alone)?;
        assert_eq!(parent.errno(&open(&daemon, Open::Read))?, 0);
        let children = || daemon.ask::<Vec<RunView>>(&["ps", "-a", "--children-of", parent.id()]);
        let ended = || Ok(children()?.first().and_then(|child| child.end.clone()));
        let end = wait::until("the child is over", wait::SOON, ended)?;
        assert_eq!(end.ending, "completed");
        assert_eq!(daemon.ps()?.len(), 1);
    }
    Ok(())
}
