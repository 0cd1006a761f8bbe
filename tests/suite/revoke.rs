//! One write ends a run, and that run alone.

use agentid_tests::{
    harness::{Daemon, Peer, Run, run::Terms, scene::USERS, table::Table},
    step::{Open, Outcome, Protocol, Step, Way},
};
use anyhow::Result;
use libc::EPERM;

/// P2, P4: from the revocation on nothing that was granted is.
#[test]
fn denies_everything_after_revoke() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let peer = Peer::granted()?;
    let program = scene.workspace().join("program");
    scene.program(&program)?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let mut steps = vec![
            Step::Open { path: scene.granted(), how: Open::Read },
            Step::Open { path: scene.granted(), how: Open::Write },
        ];
        let connects = peer.addresses().map(|to| Step::Connect { to, protocol: Protocol::Tcp });
        steps.extend(connects);
        steps.push(Step::Exec(program.clone()));
        for step in &steps {
            assert_eq!(run.errno(step)?, 0, "uid {uid}: {step:?} before");
        }
        let revoked = daemon.revoke(run.id())?;
        assert_eq!((revoked.tasks, revoked.remaining), (1, 1));
        for step in &steps {
            assert_eq!(run.errno(step)?, EPERM, "uid {uid}: {step:?} after");
        }
        for way in [Way::Fork, Way::Vfork, Way::Thread, Way::Clone3] {
            match run.ask(&Step::Inherit { way, path: scene.granted() })? {
                Outcome::NotTried { errno: EPERM, .. } => {}
                other => panic!("uid {uid}: {way:?} gave {other:?}"),
            }
        }
    }
    Ok(())
}

/// P4: with `on_end = "kill"` the whole tree is gone when the revocation is answered.
#[test]
fn kills_the_whole_tree() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let terms = Terms { policy: "killed", uid, ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        assert_eq!(run.errno(&Step::Park(10))?, 0);
        assert_eq!(daemon.revoke_and_kill(run.id())?.tasks, 11);
        assert!(!run.await_end()?.success());
    }
    Ok(())
}

/// P4: another run of the same policy, and of the same user, notices nothing.
#[test]
fn leaves_the_sibling_alone() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let step = Step::Open { path: scene.granted(), how: Open::Read };
    for uid in USERS {
        let terms = Terms { uid, ..Terms::default() };
        let (mut one, mut other) = (Run::launch(&daemon, &terms)?, Run::launch(&daemon, &terms)?);
        let denied = |run: &Run| Ok::<_, anyhow::Error>(run.totals(&daemon)?.denied);
        let before = denied(&other)?;
        daemon.revoke(one.id())?;
        assert_eq!(one.errno(&step)?, EPERM);
        assert_eq!(other.errno(&step)?, 0);
        assert_eq!(denied(&other)?, before);
    }
    Ok(())
}

/// P2: a tag of a run whose slot was given to another run is a revoked tag, however alive the other one is.
#[test]
fn denies_a_tag_whose_slot_has_another_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let mut one = Run::of(&daemon, 0)?;
    let other = Run::of(&daemon, 0)?;
    let table = Table::open()?;
    let (slot, own) = table.find(one.id())?;
    let (_, others) = table.find(other.id())?;
    assert_eq!(one.errno(&step)?, 0);
    table.set(slot, others)?;
    let errno = one.errno(&step);
    table.set(slot, own)?;
    assert_eq!(errno?, EPERM);
    assert_eq!(one.errno(&step)?, 0);
    Ok(())
}
