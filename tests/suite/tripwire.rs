//! Who meets a rule that is a tripwire is ended for it.

use std::os::unix::process::ExitStatusExt as _;

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        run::Terms,
        scene::USERS,
        view::{End, What},
        wait,
    },
    step::{Open, Outcome, Protocol, Step},
};
use anyhow::Result;
use libc::{EACCES, EPERM, SIGKILL};

/// A file that nobody needs, and an address at which nobody listens.
const TRIPWIRES: &str = r#"
    [[file]]
    paths = ["**/canary"]
    deny = "all"
    tripwire = true
    because = "a file that nobody needs"
    [[net]]
    to = ["127.0.0.66:*"]
    deny = "all"
    tripwire = true
    [delegate]
    to = ["blind"]
"#;

/// The tasks of `wired` go on after the end, those of `killed` do not, those of `audited` may do everything, and `blind`
/// grants nothing but the probe and the workspace.
fn scene() -> Result<Scene> {
    let wired = Scene::POLICY.replace("\"fixture\"", "\"wired\"") + TRIPWIRES;
    let variant = |name: &str, from: &str, to: &str| {
        wired.replace("\"wired\"", &format!("\"{name}\"")).replace(from, to)
    };
    let killed = variant("killed", "\"deny\"", "\"kill\"");
    let audited = variant("audited", "on_end", "mode = \"audit\"\n        on_end");
    let blind = Scene::POLICY.replace("\"fixture\"", "\"blind\"");
    let scene = Scene::with(&[
        ("wired", &wired),
        ("killed", &killed),
        ("audited", &audited),
        ("blind", &blind),
    ])?;
    for folder in [scene.workspace(), scene.outside()] {
        scene.file(&folder.join("canary"))?;
    }
    Ok(scene)
}

fn launch(daemon: &Daemon, policy: &str, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy, uid, ..Terms::default() })
}

fn end(daemon: &Daemon, run: &Run) -> Result<End> {
    wait::until("the run is ended", wait::SOON, || Ok(run.view(daemon)?.end))
}

fn met(end: &End) -> &str {
    assert_eq!((end.ending.as_str(), end.by_uid), ("tripwire", None));
    end.reason.as_deref().unwrap_or_default()
}

/// P4, P7: the touch is denied and ends the run and nobody else, and the record says what was touched. Other denials end
/// nobody, and a run in audit mode lives.
#[test]
fn ends_a_run_that_meets_a_tripwire() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let canary = daemon.scene().workspace().join("canary");
    let far = |protocol| Step::Connect { to: ([127, 0, 0, 66], 443).into(), protocol };
    let granted = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let beside = daemon.scene().outside().join("canary");
    let read = |path| Step::Open { path, how: Open::Read };
    let touched =
        format!("read of {} met a tripwire (rule 4): a file that nobody needs", canary.display());
    let cases = [
        (read(canary.clone()), touched.as_str()),
        (Step::Open { path: canary.clone(), how: Open::Write }, "write of "),
        (read(beside), "read of "),
        (far(Protocol::Tcp), "connect to 127.0.0.66:443 met a tripwire (rule 4)"),
        (far(Protocol::Udp), "connect to 127.0.0.66:443 met a tripwire (rule 4)"),
    ];
    for uid in USERS {
        let mut sibling = launch(&daemon, "wired", uid)?;
        let mut audited = launch(&daemon, "audited", uid)?;
        let secret = read(daemon.scene().workspace().join("secret"));
        assert_eq!(sibling.errno(&secret)?, EACCES, "uid {uid}");
        assert_eq!(sibling.errno(&read(daemon.scene().denied()))?, EACCES, "uid {uid}");
        assert_eq!(audited.errno(&read(canary.clone()))?, 0, "uid {uid}");
        for (step, expected) in &cases {
            let mut run = launch(&daemon, "wired", uid)?;
            let errno = run.errno(step)?;
            // The library makes one more call after a connect that has failed, by which time the run can be over.
            let late =
                matches!(step, Step::Connect { protocol: Protocol::Tcp, .. }).then_some(EPERM);
            assert!(
                [Some(EACCES), late].contains(&Some(errno)),
                "uid {uid}: {step:?} gave {errno}"
            );
            let end = end(&daemon, &run)?;
            assert!(met(&end).starts_with(expected), "uid {uid}: {end:?}");
            assert_eq!(run.errno(&granted)?, EPERM, "uid {uid}: {step:?}");
        }
        for other in [&mut sibling, &mut audited] {
            assert_eq!(other.errno(&granted)?, 0, "uid {uid}");
            assert_eq!(other.view(&daemon)?.phase, "active", "uid {uid}");
        }
    }
    Ok(())
}

/// P2, P4: a run below is held to the tripwires of those above, whatever its own policy says of the file; what it touches
/// ends it, and those above go on. Its record says whose rule it was.
#[test]
fn a_run_below_meets_the_tripwires_of_those_above() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        for folder in [daemon.scene().workspace(), daemon.scene().outside()] {
            let mut run = Run::delegated(&daemon, uid, &["audited", "blind"], "spawn")?;
            let above = run.view(&daemon)?.above;
            let step = Step::Open { path: folder.join("canary"), how: Open::Read };
            // Its own policy grants the one and says nothing of the other.
            assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {step:?}");
            let end = end(&daemon, &run)?;
            assert!(met(&end).contains("(rule 4): a file that nobody needs"), "uid {uid}: {end:?}");
            let events = daemon.events(run.id())?;
            let whose = events.iter().find_map(|event| match &event.what {
                What::Access(it) if it.reason.as_deref() == Some("tripwire") => it.by.as_ref(),
                _ => None,
            });
            assert_eq!(whose, above.first(), "{events:?}");
            assert_eq!(daemon.show(&above[0])?.phase, "active", "uid {uid}");
        }
    }
    Ok(())
}

/// P4: nobody has to be there. The kernel kills who touches the file, and a daemon that comes later ends the run for it.
#[test]
fn kills_who_meets_a_tripwire_with_the_daemon_dead() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    let step = Step::Open { path: daemon.scene().workspace().join("canary"), how: Open::Read };
    let mut runs = Vec::new();
    for uid in USERS {
        let mut run = launch(&daemon, "killed", uid)?;
        assert!(matches!(run.ask(&Step::Spin)?, Outcome::Process(_)), "uid {uid}");
        runs.push(run);
    }
    daemon.kill9()?;
    for run in &mut runs {
        run.say(&step)?;
        assert_eq!(run.await_end()?.signal(), Some(SIGKILL));
    }
    daemon.start_again()?;
    for run in &runs {
        let end = end(&daemon, run)?;
        assert!(met(&end).starts_with("read of "), "{end:?}");
        let gone = || Ok((run.view(&daemon)?.phase == "ended").then_some(()));
        wait::until("the other task is gone as well", wait::SOON, gone)?;
    }
    Ok(())
}
