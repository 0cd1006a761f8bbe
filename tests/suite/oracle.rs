//! The kernel and `agentid why` give one answer.

use agentid_tests::{
    harness::{Daemon, Peer, Run, run::Terms, scene::USERS},
    step::{Open, Protocol, Step},
};
use anyhow::Result;
use libc::{EACCES, EPERM};

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
