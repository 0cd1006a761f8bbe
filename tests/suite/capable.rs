//! Root in a run is not root of the host: a run has the capabilities that its policy leaves to it.

use std::collections::BTreeMap;

use agentid_tests::{
    attack::Attempt,
    harness::{
        Attacker, Daemon, Run, Scene,
        run::Terms,
        scene::USERS,
        view::{Access, Object, Totals, What},
        wait,
    },
    power::Power,
    step::{Open, Step},
};
use anyhow::Result;
use libc::EPERM;

/// `granted` leaves two capabilities to its runs, `narrower` another set, `top` delegates and only records.
fn scene() -> Result<Scene> {
    let variant = |name: &str, added: &str| {
        let text = Scene::POLICY.replace("\"fixture\"", &format!("\"{name}\""));
        text.replace("params", &format!("{added}\n        params"))
    };
    let granted = variant("granted", "capabilities = ['syslog', 'sys_time', 'wake_alarm']");
    let narrower = variant("narrower", "capabilities = ['sys_time', 'wake_alarm', 'sys_ptrace']");
    let top = variant("top", "mode = 'audit'\ncapabilities = ['syslog', 'sys_time']")
        + "[delegate]\nto = ['middle']\ndepth = 2";
    let middle =
        variant("middle", "mode = 'audit'\ncapabilities = ['syslog', 'sys_time', 'sys_ptrace']")
            + "[delegate]\nto = ['narrower']";
    Scene::with(&[
        ("fixture", Scene::POLICY),
        ("granted", &granted),
        ("narrower", &narrower),
        ("top", &top),
        ("middle", &middle),
    ])
}

/// Whether the kernel has the call.
fn is_there(outside: &mut Attacker, power: Power) -> Result<bool> {
    let errno = outside.errno(&Attempt::Exercise(power))?;
    if errno == libc::ENOSYS {
        eprintln!("skipped: this kernel has no call for {power:?}");
        return Ok(false);
    }
    assert_ne!(errno, power.errno(), "{power:?} outside of any run");
    Ok(true)
}

/// What the kernel has recorded of a run.
fn recorded(daemon: &Daemon, run: &Run) -> Result<Vec<Access>> {
    let accesses = daemon.events(run.id())?.into_iter().filter_map(|event| match event.what {
        What::Access(access) => Some(access),
        What::Stopped(_) | What::Ended(_) | What::Other => None,
    });
    Ok(accesses.collect())
}

fn is_about(access: &Access, capability: &str) -> bool {
    access.reason.as_deref() == Some("capability")
        && access.object == Some(Object::Capability { name: capability.to_owned() })
}

/// P2: what root needs a capability for is denied to root in a run, and only there; a user has none in any case.
#[test]
fn a_run_gets_no_capability_of_the_floor() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut outside = Attacker::outside(0)?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let mut denied = BTreeMap::<_, usize>::new();
        for power in Power::ALL {
            if !is_there(&mut outside, power)? {
                continue;
            }
            let errno = run.errno(&Step::Exercise(power))?;
            assert_eq!(errno, power.errno(), "uid {uid}: {power:?}");
            if power.is_recorded() {
                *denied.entry(power.capability()).or_default() += 1;
            }
        }
        let mut found = wait::until("all records are there", wait::SOON, || {
            let Totals { records, faults, .. } = run.totals(&daemon)?;
            assert_eq!(faults, 0);
            let found = recorded(&daemon, &run)?;
            Ok((found.len() as u64 >= records).then_some(found))
        })?;
        found.retain(|access| access.hook == "capable");
        if uid != 0 {
            assert!(found.is_empty(), "the kernel refuses a user before we are asked: {found:?}");
            continue;
        }
        for (capability, times) in denied {
            let count = found.iter().filter(|access| is_about(access, capability)).count();
            assert!(count >= times, "{capability} is denied {count} times in {found:?}");
        }
    }
    Ok(())
}

/// P2: a capability that the policy names is had, and no other one with it.
#[test]
fn a_granted_capability_is_had_and_no_other() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut outside = Attacker::outside(0)?;
    for uid in USERS {
        let mut run = Run::launch(&daemon, &Terms { policy: "granted", uid, ..Terms::default() })?;
        for power in Power::ALL {
            if !is_there(&mut outside, power)? {
                continue;
            }
            let granted = ["syslog", "sys_time", "wake_alarm"].contains(&power.capability());
            // A grant gives nobody what the kernel does not give him.
            let expected = if granted && uid == 0 { 0 } else { power.errno() };
            assert_eq!(run.errno(&Step::Exercise(power))?, expected, "uid {uid}: {power:?}");
        }
    }
    Ok(())
}

/// P2: what a run may use, every run above it has to be left as well.
#[test]
fn a_child_has_no_capability_that_its_parent_lacks() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut run = Run::delegated(&daemon, 0, &["top", "middle", "narrower"], "spawn")?;
    for (power, expected) in [
        (Power::SetTimeZone, 0),
        // Its own policy grants these, those above it do not, one or both.
        (Power::WakingTimer, EPERM),
        (Power::ReadOther, EPERM),
        // The other way round.
        (Power::KernelLog, EPERM),
        (Power::InitModule, EPERM),
    ] {
        assert_eq!(run.errno(&Step::Exercise(power))?, expected, "{power:?}");
    }
    let mut alone = Run::launch(&daemon, &Terms { policy: "narrower", ..Terms::default() })?;
    for power in [Power::SetTimeZone, Power::WakingTimer, Power::ReadOther] {
        assert_eq!(alone.errno(&Step::Exercise(power))?, 0, "{power:?}");
    }
    Ok(())
}

/// P2: a user namespace would bring every capability with it, so that no run makes one; P10: its user does.
#[test]
fn no_user_namespace_is_made() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let mut outside = Attacker::outside(uid)?;
        for power in [Power::UserNamespace, Power::CloneUserNamespace] {
            let before = recorded(&daemon, &run)?.len();
            assert_eq!(run.errno(&Step::Exercise(power))?, EPERM, "uid {uid}: {power:?}");
            wait::until("the denial is recorded", wait::SOON, || {
                let records = recorded(&daemon, &run)?;
                let found = records.iter().skip(before).any(|access| {
                    access.hook == "userns_create"
                        && access.reason.as_deref() == Some("user_namespace")
                });
                Ok(found.then_some(()))
            })?;
            assert_eq!(outside.errno(&Attempt::Exercise(power))?, 0, "uid {uid}: {power:?}");
        }
    }
    Ok(())
}

/// P7: what the kernel only probes for is refused without a word, and is no denial of the run's; what it asks for before
/// another capability that the run has, neither.
#[test]
fn what_is_only_probed_is_not_recorded() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let own = scene.workspace().join("of-the-user-alone");
    scene.file_of_user(&own)?;
    std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut run = Run::of(&daemon, 0)?;
    let before = run.totals(&daemon)?;
    assert_eq!(run.errno(&Step::Exercise(Power::OpenByHandle))?, EPERM);
    for _ in 0..50 {
        assert_eq!(run.errno(&Step::Open { path: own.clone(), how: Open::Read })?, 0);
    }
    std::fs::remove_file(&own)?;
    let after = run.totals(&daemon)?;
    assert_eq!((after.denied, after.records), (before.denied, before.records));
    // A record that comes later has the next number.
    assert_eq!(run.errno(&Step::Exercise(Power::Reboot))?, EPERM);
    let last = run.totals(&daemon)?;
    assert_eq!((last.denied, last.records), (before.denied + 1, before.records + 1));
    Ok(())
}

/// P4: a run that is over has none of the capabilities that it had.
#[test]
fn a_run_that_is_over_has_no_capability() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut run = Run::launch(&daemon, &Terms { policy: "granted", ..Terms::default() })?;
    assert_eq!(run.errno(&Step::Exercise(Power::KernelLog))?, 0);
    daemon.revoke(run.id())?;
    assert_eq!(run.errno(&Step::Exercise(Power::KernelLog))?, EPERM);
    wait::until("the denial is recorded", wait::SOON, || {
        let records = recorded(&daemon, &run)?;
        let found = records
            .iter()
            .any(|access| access.hook == "capable" && access.reason.as_deref() == Some("revoked"));
        Ok(found.then_some(()))
    })
}

/// P2: audit mode lets pass what it records.
#[test]
fn audit_mode_records_capabilities() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut run = Run::launch(&daemon, &Terms { policy: "top", ..Terms::default() })?;
    assert_ne!(run.errno(&Step::Exercise(Power::HostName))?, EPERM);
    assert_eq!(run.errno(&Step::Exercise(Power::UserNamespace))?, 0);
    wait::until("both are recorded", wait::SOON, || {
        let records = recorded(&daemon, &run)?;
        let audited = |hook: &str| {
            records.iter().any(|access| access.hook == hook && access.verdict == "audit")
        };
        Ok((audited("capable") && audited("userns_create")).then_some(()))
    })
}
