//! A symbolic link that a run could have made, or moved, leads no rule anywhere.

use std::{fs, os::unix::fs::symlink, path::Path};

use agentid_tests::{
    harness::{Daemon, Run, Scene, run::Terms, scene::USER},
    step::{Change, Open, Step},
};
use anyhow::Result;
use libc::EACCES;

/// A scene whose policy `linked` lets a run make and take names in the folder `app`, grants what is below `app/data`, and
/// what is below `host`, which is a link of this host's.
fn scene() -> Result<Scene> {
    let scene = Scene::new()?;
    let (app, there) = (scene.path().join("app"), scene.path().join("there"));
    for folder in [&app, &app.join("kept"), &there] {
        fs::create_dir(folder)?;
        scene.open_to_all(folder)?;
        scene.file(&folder.join("a"))?;
    }
    symlink(&there, scene.path().join("host"))?;
    let text = format!(
        r#"
        name = "linked"
        ttl = "20m"
        on_end = "deny"
        params = ["workspace"]
        [[file]]
        paths = ["${{workspace}}/**"]
        allow = ["read"]
        [[file]]
        paths = ["/usr/bin/agentid-probe"]
        allow = ["read", "exec"]
        [[file]]
        paths = ["{path}/app/**"]
        allow = ["create", "delete"]
        [[file]]
        paths = ["{path}/app/data/**", "{path}/app/moved/**", "{path}/host/**"]
        allow = ["read"]
        "#,
        path = scene.path().display(),
    );
    fs::write(scene.path().join("policies/linked.toml"), text)?;
    Ok(scene)
}

fn read(folder: &Path) -> Step {
    Step::Open { path: folder.join("a"), how: Open::Read }
}

/// P2: where a rule names something that is not there yet, a run that may make names there does not choose what it is of,
/// be it that it makes a link or that it moves one of root's. A link where no run may make names is followed.
#[test]
fn a_link_that_a_run_could_have_made_leads_no_rule_anywhere() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    let (app, outside) = (daemon.scene().path().join("app"), daemon.scene().outside());
    let host = daemon.scene().path().join("host");
    // A link of root's that lies in the folder of a user.
    symlink(&outside, app.join("kept/link"))?;

    let launch = |daemon: &Daemon, uid| {
        Run::launch(daemon, &Terms { policy: "linked", uid, ..Terms::default() })
    };
    let (mut root, mut user) = (launch(&daemon, 0)?, launch(&daemon, USER)?);
    let made = Change::SymlinkTo { target: outside.clone(), at: app.join("data") };
    assert_eq!(root.errno(&Step::Change(made))?, 0);
    let moved = Change::Rename { from: app.join("kept/link"), to: app.join("moved") };
    assert_eq!(user.errno(&Step::Change(moved))?, libc::EXDEV, "a name that brings a right");
    fs::rename(app.join("kept/link"), app.join("moved"))?;

    daemon.stop()?;
    daemon.start_again()?;
    for run in [&mut root, &mut user, &mut launch(&daemon, 0)?, &mut launch(&daemon, USER)?] {
        holds(run, &outside, &host)?;
    }
    let said = daemon.log();
    assert!(said.contains("app/data") && said.contains("leads no rule"), "{said}");
    // What the name itself grants holds once something else lies there.
    fs::remove_file(app.join("data"))?;
    fs::create_dir(app.join("data"))?;
    daemon.scene().file(&app.join("data/a"))?;
    assert_eq!(root.errno(&read(&app.join("data")))?, 0);
    Ok(())
}

fn holds(run: &mut Run, outside: &Path, host: &Path) -> Result<()> {
    assert_eq!(run.errno(&read(outside))?, EACCES, "a rule was led there");
    assert_eq!(run.errno(&read(host))?, 0, "a link of the host's is followed");
    Ok(())
}
