//! What cannot be decided is denied to a run, and to nobody else.

use std::net::{Ipv4Addr, TcpStream};

use agentid_common::instance::Instance;
use agentid_tests::{
    harness::{Daemon, Run, run::Terms, scene::USERS, table::Table, view::What, wait},
    step::{Family, Open, Step},
};
use anyhow::Result;
use libc::{EACCES, EPERM};

/// The faults that events tell of a run.
fn faults(daemon: &Daemon, run: &Run) -> Result<Vec<String>> {
    wait::until("the events of a run tell of a fault", wait::SOON, || {
        let mut faults = Vec::new();
        for event in daemon.events(run.id())? {
            if let What::Access(access) = event.what
                && access.verdict == "fault"
            {
                assert_eq!(access.reason, None, "a fault is no denial");
                faults.extend(access.fault);
            }
        }
        Ok((!faults.is_empty()).then_some(faults))
    })
}

/// P2: an address that ends too early names nobody whom a rule could grant. It is no fault either: a run has these at will.
#[test]
fn denies_an_address_that_is_cut_off() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for (family, length) in [(Family::V4, 4), (Family::V6, 20)] {
            let mut run = Run::of(&daemon, uid)?;
            let before = run.totals(&daemon)?;
            assert_eq!(run.errno(&Step::ConnectShort { family, length })?, EACCES, "{family:?}");
            let after = run.totals(&daemon)?;
            assert_eq!(after.denied, before.denied + 1, "uid {uid}: {family:?}");
            assert_eq!(after.faults, before.faults, "uid {uid}: {family:?}");
        }
    }
    Ok(())
}

/// P3: audit mode lets pass what the rules deny; a fault is no rule.
#[test]
fn denies_a_fault_in_audit_mode() -> Result<()> {
    let daemon = Daemon::shared()?;
    let terms = Terms { policy: "audited", ..Terms::default() };
    let mut run = Run::launch(&daemon, &terms)?;
    let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    assert_eq!(run.errno(&step)?, 0);
    let before = run.totals(&daemon)?;
    let table = Table::open()?;
    let (slot, own) = table.find(run.id())?;
    // As if the scopes of two versions of its policy were found together.
    table.set(slot, Instance { bond: !own.bond, ..own })?;
    let errno = run.errno(&step);
    table.set(slot, own)?;
    assert_eq!(errno?, EPERM);
    let after = run.totals(&daemon)?;
    assert_eq!(after.faults, before.faults + 1);
    assert_eq!(after.denied, before.denied, "a fault is no denial");
    assert_eq!(faults(&daemon, &run)?, ["rebound"]);
    assert_eq!(run.errno(&step)?, 0);
    Ok(())
}

/// P3: a table that makes no sense denies the runs that it is about, and no others.
#[test]
fn denies_a_run_above_which_there_is_a_circle() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let mut run = Run::of(&daemon, 0)?;
    let mut other = Run::of(&daemon, 0)?;
    let table = Table::open()?;
    let (slot, own) = table.find(run.id())?;
    table.set(slot, Instance { parent: slot, parent_generation: own.generation, ..own })?;
    let outcomes = [run.errno(&step), other.errno(&step)];
    table.set(slot, own)?;
    let [errno, others] = outcomes;
    assert_eq!((errno?, others?), (EPERM, 0));
    assert_eq!(faults(&daemon, &run)?, ["ancestry"]);
    assert_eq!(run.errno(&step)?, 0);
    Ok(())
}

/// P3: none of this concerns an untagged process.
#[test]
fn has_nothing_to_say_to_untagged_processes() -> Result<()> {
    let daemon = Daemon::shared()?;
    let _run = Run::of(&daemon, 0)?;
    // Port 9 has no listener: the answer is the kernel's own.
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).err();
    let errno = refused.and_then(|error| error.raw_os_error());
    assert!(!matches!(errno, Some(EPERM | EACCES)), "{errno:?}");
    Ok(())
}
