//! A run is held for a time, goes on, and gets more time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        cli::output,
        run::Terms,
        scene::{USER, USERS},
        view::Changed,
        wait,
    },
    step::{Open, Outcome, Step, Way},
};
use anyhow::Result;
use libc::EPERM;

/// A scene whose policy leaves its runs less than others have.
fn scene() -> Result<Scene> {
    Scene::with(&[("fixture", &Scene::POLICY.replace("ttl = \"2h\"", "ttl = \"20m\""))])
}

fn read(daemon: &Daemon) -> Step {
    Step::Open { path: daemon.scene().granted(), how: Open::Read }
}

/// P2, P4: a suspended run and all below it are denied everything and live on, whatever their policy does at their end.
#[test]
fn a_suspended_run_is_denied_everything_and_lives() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = read(&daemon);
    for uid in USERS {
        let terms = Terms { policy: "killed", uid, ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        let below = Terms { parent: Some(run.id()), ..terms.clone() };
        let mut below = Run::launch(&daemon, &below)?;
        let mut beside = Run::launch(&daemon, &terms)?;
        let changed: Changed =
            daemon.ask(&["suspend", run.id(), "--no-freeze", "--reason", "look"])?;
        assert_eq!(changed.runs[0].phase, "suspended");
        for run in [&mut run, &mut below] {
            assert_eq!(run.errno(&step)?, EPERM, "uid {uid}");
            let fork = Step::Inherit { way: Way::Fork, path: daemon.scene().granted() };
            let outcome = run.ask(&fork)?;
            assert!(matches!(outcome, Outcome::NotTried { errno: EPERM, .. }), "{outcome:?}");
        }
        assert_eq!(beside.errno(&step)?, 0, "uid {uid}: the run beside it");
        assert_eq!((run.view(&daemon)?.tasks, below.view(&daemon)?.tasks), (1, 1));
        let again = daemon.complaint(0, 1, &["suspend", run.id()])?;
        assert!(again.contains("suspended already"), "{again}");

        let resumed: Changed = daemon.ask(&["resume", run.id()])?;
        assert_eq!(resumed.runs[0].phase, "active");
        for run in [&mut run, &mut below] {
            assert_eq!(run.errno(&step)?, 0, "uid {uid}: it goes on");
        }
        let changes = run.view(&daemon)?.changes;
        let told = changes.iter().map(|it| (it.what.as_str(), it.by_uid, it.reason.as_deref()));
        let expected = [("suspended", 0, Some("look")), ("resumed", 0, None)];
        assert!(told.eq(expected), "{changes:?}");
        let events = output(daemon.agentid().args(["events", "--id", run.id()]), &[0])?;
        assert!(events.contains("suspended: look  by uid 0"), "{events}");
    }
    Ok(())
}

/// P4, P6: a suspension outlives the daemon, and a revocation is final for a suspended run too.
#[test]
fn a_suspension_outlives_the_daemon() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let step = read(&daemon);
    let mut runs =
        USERS.into_iter().map(|uid| Run::of(&daemon, uid)).collect::<Result<Vec<_>>>()?;
    for run in &mut runs {
        let _: Changed = daemon.ask(&["suspend", "--no-freeze", run.id()])?;
    }
    daemon.kill9()?;
    for run in &mut runs {
        assert_eq!(run.errno(&step)?, EPERM);
    }
    daemon.start_again()?;
    for run in &mut runs {
        assert_eq!(run.errno(&step)?, EPERM);
        assert_eq!(run.view(&daemon)?.phase, "suspended");
        let _: Changed = daemon.ask(&["resume", run.id()])?;
        assert_eq!(run.errno(&step)?, 0);
        let _: Changed = daemon.ask(&["suspend", "--no-freeze", run.id()])?;
        daemon.revoke(run.id())?;
        let refused = daemon.complaint(0, 1, &["resume", run.id()])?;
        assert!(refused.contains("is over already"), "{refused}");
        assert_eq!(run.errno(&step)?, EPERM);
    }
    Ok(())
}

/// P4: what an operator has suspended is not its user's to resume, whatever he has done to it since; what he has suspended
/// himself is.
#[test]
fn what_an_operator_holds_only_an_operator_lets_go() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = read(&daemon);
    let terms = Terms { uid: USER, ttl: Some("20m"), ..Terms::default() };
    let mut run = Run::launch(&daemon, &terms)?;
    daemon.complaint(USER, 0, &["suspend", "--no-freeze", run.id()])?;
    daemon.complaint(USER, 0, &["resume", run.id()])?;
    assert_eq!(run.errno(&step)?, 0);
    let _: Changed = daemon.ask(&["suspend", "--no-freeze", run.id()])?;
    // More than the record keeps of what was done.
    for _ in 0..33 {
        daemon.complaint(USER, 0, &["extend", "--by", "1s", run.id()])?;
    }
    let refused = daemon.complaint(USER, 1, &["resume", run.id()])?;
    assert!(refused.contains("was suspended by user 0"), "{refused}");
    assert_eq!(run.errno(&step)?, EPERM);
    let _: Changed = daemon.ask(&["resume", run.id()])?;
    assert_eq!(run.errno(&step)?, 0);
    Ok(())
}

/// P5: more time is the kernel's too, and no more of it is given than the policy has.
#[test]
fn an_extension_is_kept_with_the_daemon_dead() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    let step = read(&daemon);
    let terms = Terms { uid: 1000, ttl: Some("20s"), ..Terms::default() };
    let mut run = Run::launch(&daemon, &terms)?;
    let first = run.view(&daemon)?.deadline_ms;
    let changed: Changed = daemon.ask(&["extend", run.id(), "--by", "5s"])?;
    let second = changed.runs[0].deadline_ms;
    assert!((second - first).abs_diff(5000) < 100, "{first} {second}");
    let refused = daemon.complaint(0, 1, &["extend", run.id(), "--by", "20m"])?;
    assert!(refused.contains("max_ttl leaves") && refused.contains("at most 19m"), "{refused}");
    daemon.kill9()?;
    let slack = 100;
    loop {
        let begun = now_ms()?;
        let errno = run.errno(&step)?;
        if now_ms()? + slack < second {
            assert_eq!(errno, 0, "before the new deadline");
        } else if begun > second + slack {
            assert_eq!(errno, EPERM, "after the new deadline");
            break;
        }
        wait::moment();
    }
    daemon.start_again()?;
    assert_eq!(run.errno(&step)?, EPERM);
    Ok(())
}

fn now_ms() -> Result<u64> {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}
