//! Many runs by what they are.

use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::{USER, USERS},
        view::{Changed, RevokedAll},
    },
    step::{Open, Step},
};
use anyhow::Result;
use libc::EPERM;

/// P4: one request ends all runs that are meant, and no other one.
#[test]
fn a_selection_ends_what_it_names_and_nothing_beside() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let with = |label| Run::launch(&daemon, &Terms { uid, label, ..Terms::default() });
        let mut meant = [with(Some("team=core"))?, with(Some("team=core"))?];
        let mut others = [with(Some("team=other"))?, with(None)?];
        let refused = daemon.complaint(uid, 2, &["revoke", "--label", "team=core"])?;
        assert!(refused.contains("2 runs") && refused.contains("--yes"), "{refused}");
        for run in meant.iter_mut().chain(&mut others) {
            assert_eq!(run.errno(&step)?, 0, "nothing was done without being asked");
        }
        let select = ["--label", "team=core", "--yes"];
        let changed: Changed = daemon.ask(&[&["suspend", "--no-freeze"][..], &select].concat())?;
        assert_eq!(changed.runs.len(), 2);
        let revoked: RevokedAll = daemon.ask(&[&["revoke"][..], &select].concat())?;
        let mut ids: Vec<&str> = revoked.runs.iter().map(|run| run.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [meant[0].id(), meant[1].id()]);
        for run in &mut meant {
            assert_eq!(run.errno(&step)?, EPERM);
        }
        for run in &mut others {
            assert_eq!(run.errno(&step)?, 0);
        }
    }
    Ok(())
}

/// P10: a user selects among its own runs alone; root among all.
#[test]
fn users_select_among_their_own_runs() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let (mut of_root, mut of_user) = (Run::of(&daemon, 0)?, Run::of(&daemon, USER)?);
    let said = daemon.complaint(USER, 0, &["revoke", "--all", "--yes"])?;
    assert_eq!(said, "");
    assert_eq!(of_user.errno(&step)?, EPERM);
    assert_eq!(of_root.errno(&step)?, 0);
    let mut of_user = Run::of(&daemon, USER)?;
    let hidden = daemon.complaint(USER, 1, &["suspend", "--children-of", of_root.id(), "--yes"])?;
    assert!(hidden.contains("no run has an ID"), "{hidden}");
    let revoked: RevokedAll = daemon.ask(&["revoke", "--owner", "suite", "--yes"])?;
    assert_eq!(revoked.runs.len(), 2);
    assert_eq!((of_root.errno(&step)?, of_user.errno(&step)?), (EPERM, EPERM));
    Ok(())
}
