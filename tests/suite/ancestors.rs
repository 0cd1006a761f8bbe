//! A run stands on the runs above it.

use agentid_common::instance::{Instance, State};
use agentid_tests::{
    harness::{Daemon, Peer, Run, run::Terms, scene::USERS, table::Table, view::What, wait},
    step::{Open, Protocol, Step},
};
use anyhow::Result;
use libc::{EACCES, EPERM};

fn below<'a>(parent: &'a Run, uid: u32) -> Terms<'a> {
    Terms { uid, parent: Some(parent.id()), ..Terms::default() }
}

/// P4: what a run's own policy grants is denied when a policy above it does not grant it.
#[test]
fn a_run_is_held_to_the_rules_above_it() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let peer = Peer::granted()?;
    for uid in USERS {
        let parent = Run::launch(&daemon, &Terms { policy: "narrow", uid, ..Terms::default() })?;
        let mut child = Run::launch(&daemon, &below(&parent, uid))?;
        let grandchild = below(&child, uid);
        let mut grandchild = Run::launch(&daemon, &grandchild)?;
        for run in [&mut child, &mut grandchild] {
            let open = |how| Step::Open { path: scene.granted(), how };
            assert_eq!(run.errno(&open(Open::Read))?, 0, "uid {uid}: all grant reading");
            assert_eq!(run.errno(&open(Open::Write))?, EACCES, "uid {uid}: the topmost does not");
            for to in peer.addresses() {
                let step = Step::Connect { to, protocol: Protocol::Tcp };
                assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {to}");
            }
        }
    }
    Ok(())
}

/// P4: one store in the kernel's table ends a run and all below it, and nothing above it.
#[test]
fn a_run_ends_with_each_run_above_it() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let table = Table::open()?;
    for uid in USERS {
        let mut parent = Run::of(&daemon, uid)?;
        let mut child = Run::launch(&daemon, &below(&parent, uid))?;
        let mut grandchild = Run::launch(&daemon, &below(&child, uid))?;
        let (slot, own) = table.find(child.id())?;
        for ended in [
            Instance { state: State::REVOKED, ..own },
            Instance { deadline: 1, ..own },
            Instance { generation: own.generation + 1, ..own },
        ] {
            table.set(slot, ended)?;
            let errnos = [&mut parent, &mut child, &mut grandchild].map(|run| run.errno(&step));
            table.set(slot, own)?;
            let errnos = errnos.into_iter().collect::<Result<Vec<_>>>()?;
            assert_eq!(errnos, [0, EPERM, EPERM], "uid {uid}: {ended:?}");
        }
        wait::until("the reason is told", wait::SOON, || {
            let events = daemon.events(grandchild.id())?;
            let told = events.iter().any(|event| match &event.what {
                What::Access(access) => access.reason.as_deref() == Some("ancestor_ended"),
                What::Stopped(_) | What::Ended(_) | What::Other => false,
            });
            Ok(told.then_some(()))
        })?;
    }
    Ok(())
}

/// P4: a revocation says which runs it has ended beside the one that was named.
#[test]
fn revoking_names_the_runs_below() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let parent = Run::of(&daemon, uid)?;
        let mut child = Run::launch(&daemon, &below(&parent, uid))?;
        let mut beside = Run::of(&daemon, uid)?;
        let revoked = daemon.revoke(parent.id())?;
        assert_eq!(revoked.also, [child.id()]);
        assert_eq!(child.errno(&step)?, EPERM);
        assert_eq!(beside.errno(&step)?, 0);
    }
    Ok(())
}
