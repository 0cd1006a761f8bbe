//! The kernel and `agentid why` give one answer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{Daemon, Peer, Place, Run, run::Terms, scene::USERS, view::Why},
    step::{Change, Open, Protocol, Step},
};
use anyhow::{Context as _, Result, bail};
use libc::{EACCES, EPERM, EXDEV};
use serde_json::json;

/// P8: for all that the policies grant, and for things that they do not.
#[test]
fn the_kernel_does_what_the_daemon_says() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let (granted, denied) = (Peer::granted()?, Peer::denied()?);
    let programs = [scene.workspace().join("oracle"), scene.outside().join("oracle")];
    for program in &programs {
        scene.program(program)?;
    }
    let files = [
        scene.granted(),
        scene.workspace().join("secret"),
        scene.denied(),
        "/etc/passwd".into(),
        "/proc/version".into(),
    ];
    let (mut allowed, mut refused) = (0, 0);
    for (uid, policy) in USERS.into_iter().flat_map(|uid| ["fixture", "narrow"].map(|it| (uid, it)))
    {
        let mut run = Run::launch(&daemon, &Terms { policy, uid, ..Terms::default() })?;
        let id = run.id().to_owned();
        let mut steps = Vec::new();
        for path in &files {
            for (how, option) in [(Open::Read, None), (Open::Write, Some("--write"))] {
                let why = daemon.why_open(&id, path, option)?;
                steps.push((Step::Open { path: path.clone(), how }, why));
            }
        }
        for path in &programs {
            let why = daemon.why_open(&id, path, Some("--exec"))?;
            steps.push((Step::Exec(path.clone()), why));
        }
        for to in [&granted, &denied].into_iter().flat_map(Peer::addresses) {
            let why = daemon.why_connect(&id, to)?;
            steps.push((Step::Connect { to, protocol: Protocol::Tcp }, why));
        }
        for (step, why) in steps {
            let errno = run.errno(&step)?;
            let passes = why.verdict == "allow";
            assert!(passes || why.verdict == "deny", "{why:?}");
            assert_eq!(
                !matches!(errno, EACCES | EPERM),
                passes,
                "uid {uid}, {policy}: {step:?}: {errno}"
            );
            *(if passes { &mut allowed } else { &mut refused }) += 1;
        }
    }
    assert!(allowed >= 10 && refused >= 10, "{allowed} allowed and {refused} denied say little");
    Ok(())
}

/// What the daemon says that the call fails with.
fn expected(why: &Why) -> Result<i32> {
    Ok(match (why.verdict.as_str(), why.errno.as_deref()) {
        ("allow", None) => 0,
        ("deny", Some("EACCES")) => EACCES,
        ("deny", Some("EPERM")) => EPERM,
        ("deny", Some("EXDEV")) => EXDEV,
        other => bail!("the answer is {other:?}"),
    })
}

/// Files, folders and links of `named`: some whose rights are more than those of others, and some that may not be moved.
fn furnish(place: &Place, work: &Path) -> Result<()> {
    for folder in ["dir", "bin", "fixed", "one", "empty", "full"] {
        fs::create_dir_all(work.join(folder))?;
        place.open_to_all(&work.join(folder))?;
    }
    for file in ["b", "bin/tool", "fixed/f", "dir/secret", "full/x"] {
        if !work.join(file).exists() {
            place.file(&work.join(file))?;
        }
    }
    let link = work.join("link");
    if fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink("/etc/passwd", link)?;
    }
    Ok(())
}

/// P10: of the root, which has no name, everything can be asked that can be asked of names.
#[test]
fn the_root_can_be_asked_about() -> Result<()> {
    let daemon = Daemon::shared()?;
    let run = Run::of(&daemon, 0)?;
    let one = json!({ "path": "/" });
    let two = json!({ "from": "/", "to": "/" });
    for question in [
        json!({ "create": one }),
        json!({ "delete": one }),
        json!({ "move": two }),
        json!({ "link": two }),
    ] {
        let why = daemon.why(run.id(), &question)?;
        assert_eq!(why.verdict, "deny", "{question}: {why:?}");
    }
    Ok(())
}

/// P8: of names that are made, taken away and given to others, with the errno of the one that is denied.
#[test]
fn the_kernel_does_with_names_what_the_daemon_says() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let place = Place::below(daemon.scene().path())?;
        let (work, outside) = (place.workspace(), place.outside());
        let terms = Terms { policy: "named", uid, workspace: Some(&work), ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        let id = run.id().to_owned();
        let from =
            ["b", "bin/tool", "fixed/f", "dir/secret", "full", "bin", "link", "../outside/a"];
        let to =
            ["c", "bin/c", "fixed/c", "full/x", "dir/c", "one/two", "dir/secret", "../outside/c"];
        let at = |name: &str| match name.strip_prefix("../outside") {
            Some(rest) => outside.join(rest.trim_start_matches('/')),
            None => work.join(name),
        };
        let mut errnos = Vec::new();
        for (from, to) in from.into_iter().flat_map(|from| to.map(|to| (at(from), at(to)))) {
            furnish(&place, &work)?;
            // The kernel asks nobody before it refuses these itself.
            let is_folder = |path: &PathBuf| fs::symlink_metadata(path).map(|found| found.is_dir());
            if to.starts_with(&from) || is_folder(&from)? && to.exists() {
                continue;
            }
            let why = daemon.why(&id, &json!({ "move": { "from": from, "to": to } }))?;
            let step = Step::Change(Change::Rename { from: from.clone(), to: to.clone() });
            let errno = run.errno(&step)?;
            assert_eq!(errno, expected(&why)?, "uid {uid}: {from:?} to {to:?}: {why:?}");
            errnos.push(errno);
            if errno == 0 {
                fs::rename(&to, &from).context("failed to move it back")?;
            }
        }
        for errno in [0, EACCES, EXDEV] {
            let times = errnos.iter().filter(|found| **found == errno).count();
            assert!(times >= 4, "uid {uid}: {times} times {errno} say little: {errnos:?}");
        }
        for name in ["new", "fixed/new", "dir/secret", "../outside/new", "bin/secret"] {
            let path = at(name);
            let why = daemon.why(&id, &json!({ "create": { "path": path } }))?;
            if path.exists() {
                continue;
            }
            let errno = run.errno(&Step::Change(Change::Folder(path.clone())))?;
            assert_eq!(errno, expected(&why)?, "uid {uid}: make {path:?}: {why:?}");
        }
        for name in ["b", "fixed/f", "dir/secret", "link", "../outside/a"] {
            furnish(&place, &work)?;
            let path = at(name);
            let why = daemon.why(&id, &json!({ "delete": { "path": path } }))?;
            let errno = run.errno(&Step::Change(Change::Unlink(path.clone())))?;
            assert_eq!(errno, expected(&why)?, "uid {uid}: remove {path:?}: {why:?}");
        }
    }
    Ok(())
}
