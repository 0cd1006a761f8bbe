//! A filesystem that some process answers for: the daemon asks it nothing, and no run is granted anything on it.

mod server;

use std::fs;

use agentid_tests::{
    harness::{
        Run,
        adjust::mount_at,
        run::Terms,
        scene::{USER, USERS},
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::EACCES;

use self::server::Server;
use super::{Stage, await_reason, await_rules, made::Mounted, open};

/// P2: nothing on such a filesystem is granted, below a granted folder either, and the daemon never has to wait for it.
#[test]
fn nothing_is_granted_where_a_process_answers() -> Result<()> {
    let mut stage = Stage::new(&USERS)?;
    let point = stage.work.join("served");
    fs::create_dir(&point)?;
    let server = Server::mount(&point)?;
    let file = point.join("a");
    assert_eq!(fs::read_to_string(&file)?, "text", "the server serves");

    // When the rules hold on what was mounted later, the daemon has seen this one as well.
    let later = stage.work.join("later");
    fs::create_dir(&later)?;
    mount_at("tmpfs", &later)?;
    let _later = Mounted::at(&later);
    for run in &mut stage.runs {
        await_rules(run, &later)?;
        assert_eq!(run.errno(&open(&file, Open::Read))?, EACCES);
        assert_eq!(run.errno(&Step::List(point.clone()))?, EACCES);
        await_reason(&stage.daemon, run, "unknown_filesystem")?;
    }
    let tgid = stage.daemon.tgid().context("the daemon has gone")?;
    assert!(!server.askers()?.contains(&tgid), "the daemon has asked the server");

    // Nor is it a folder that a run can be given.
    let terms = Terms { uid: USER, workspace: Some(&point), ..Terms::default() };
    let refused = Run::launch(&stage.daemon, &terms).err().context("a served folder was given")?;
    assert!(format!("{refused:#}").contains("served"), "{refused:#}");
    Ok(())
}
