//! A run's tasks are its own, in whatever way they come to be.

use agentid_tests::{
    harness::{Daemon, Run, run::Terms, scene::USERS, wait},
    step::{Outcome, Step, Way},
};
use anyhow::Result;
use libc::EACCES;

/// P1: every task that a run starts is held to the run's policy, also when it changes what else it can.
#[test]
fn every_way_to_start_a_task_passes_the_tag_on() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    for uid in USERS {
        let mut run = Run::launch(&daemon, &Terms { policy: "unbound", uid, ..Terms::default() })?;
        for way in Way::ALL.into_iter().filter(|way| uid == 0 || !way.needs_root()) {
            for (path, errno) in [(scene.granted(), 0), (scene.denied(), EACCES)] {
                let outcome = run.ask(&Step::Inherit { way, path })?;
                assert_eq!(outcome, Outcome::Errno(errno), "uid {uid}: {way:?}");
            }
        }
    }
    Ok(())
}

/// P1, P7: the count of a run's tasks is exact while they live and when they have gone.
#[test]
fn counts_the_tasks_of_a_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let before = run.view(&daemon)?.tasks;
        assert_eq!(before, 1);
        assert_eq!(run.errno(&Step::Park(20))?, 0);
        assert_eq!(run.view(&daemon)?.tasks, 21);
        let id = run.id().to_owned();
        assert!(run.finish()?.success());
        let ended = || Ok(Some(daemon.show(&id)?).filter(|view| view.phase == "ended"));
        let view = wait::until("the run is empty", wait::SOON, ended)?;
        assert_eq!(view.tasks, 0);
        assert_eq!(view.totals.map(|totals| totals.started), Some(21));
        assert_eq!(view.end.map(|end| end.ending).as_deref(), Some("completed"));
    }
    Ok(())
}
