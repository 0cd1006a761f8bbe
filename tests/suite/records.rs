//! Nothing is lost in silence.

use std::fs;

use agentid_tests::{
    harness::{
        Daemon, Run,
        scene::{USER, USERS},
        view::{Ended, What},
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Context as _, Result, bail};
use libc::{EACCES, EPERM};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// More records than the ring has room for: 4 MiB, and a file's has a kilobyte.
const FLOOD: u64 = 8_000;

/// The numbers of a run's records that have come through.
fn sequences(daemon: &Daemon, id: &str) -> Result<Vec<u64>> {
    let number = |what| match what {
        What::Access(access) => Some(access.sequence),
        What::Stopped(_) | What::Ended(_) | What::Other => None,
    };
    Ok(daemon.events(id)?.into_iter().filter_map(|event| number(event.what)).collect())
}

/// P7: of what lived when the host went down it is said so: a daemon that finds nothing of it in the kernel notes it as lost.
#[test]
fn what_a_reboot_has_ended_is_noted_as_lost() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let runs = USERS.iter().map(|uid| Run::of(&daemon, *uid)).collect::<Result<Vec<_>>>()?;
    let ids: Vec<_> = runs.iter().map(|run| run.id().to_owned()).collect();
    let file = |id| daemon.scene().state().join(format!("invocations/{id}.json"));
    let files: Vec<_> = ids.iter().map(file).collect();
    let kept = files.iter().map(fs::read).collect::<std::io::Result<Vec<_>>>()?;
    // What a boot leaves of them: nothing in the kernel, and the files as they were.
    drop(runs);
    let gone = || Ok(daemon.ps()?.is_empty().then_some(()));
    wait::until("their slots are free", wait::SOON, gone)?;
    daemon.kill9()?;
    for (file, bytes) in files.iter().zip(kept) {
        fs::write(file, bytes)?;
    }
    daemon.start_again()?;
    for id in ids {
        let view = daemon.show(&id)?;
        assert_eq!(view.phase, "ended", "{view:?}");
        assert_eq!(view.end.context("it has not ended")?.ending, "lost_at_boot");
    }
    assert!(daemon.ps()?.is_empty());
    Ok(())
}

/// P7: the numbers of a run's records have no gap, and the run's last record is that it is empty.
#[test]
fn numbers_records_without_a_gap() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
        for _ in 0..50 {
            assert_eq!(run.errno(&step)?, EACCES);
        }
        let totals = run.totals(&daemon)?;
        assert!(totals.denied >= 50 && totals.lost == 0, "{totals:?}");
        let all = || {
            Ok(Some(sequences(&daemon, run.id())?).filter(|all| all.len() as u64 == totals.records))
        };
        let found = wait::until("all records have come", wait::SOON, all)?;
        assert_eq!(found, (0..totals.records).collect::<Vec<_>>());

        let id = run.id().to_owned();
        assert!(run.finish()?.success());
        let ended = || Ok(Some(daemon.show(&id)?).filter(|view| view.phase == "ended"));
        let view = wait::until("the run is empty", wait::SOON, ended)?;
        assert_eq!(view.totals.map(|end| end.records), Some(totals.records + 1));
        let last = daemon.events(&id)?.pop().context("there are no events")?.what;
        let What::Ended(Ended { records, lost }) = last else {
            bail!("the last event is {last:?}");
        };
        assert_eq!((records, lost), (Some(totals.records + 1), Some(0)));
    }
    Ok(())
}

/// P7: what a full ring has no room for is counted and leaves a gap, and is denied all the same.
#[test]
fn counts_what_a_full_ring_loses() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = Run::of(&daemon, 0)?;
    let denied = daemon.scene().denied();
    let before = run.totals(&daemon)?;
    let reader = Pid::from_raw(daemon.tgid().context("the daemon does not run")?.cast_signed());
    kill(reader, Signal::SIGSTOP)?;
    let flooded = flood(&mut run, &denied);
    kill(reader, Signal::SIGCONT)?;
    let opened = flooded?;

    let read = |run: &Run| run.totals(&daemon);
    let after = read(&run)?;
    assert!(after.lost > 0, "{after:?}");
    assert_eq!(after.denied, before.denied + opened);
    // One more, after the gap.
    assert_eq!(run.errno(&Step::Open { path: denied, how: Open::Read })?, EACCES);
    let totals = read(&run)?;
    let last = totals.records - 1;
    let found = wait::until("the last record has come", wait::SOON, || {
        Ok(Some(sequences(&daemon, run.id())?).filter(|found| found.last() == Some(&last)))
    })?;
    assert!(found.is_sorted_by(|one, next| one < next));
    assert_eq!(found.len() as u64 + totals.lost, totals.records);
    Ok(())
}

/// Denied opens until the ring must be full; how many.
fn flood(run: &mut Run, path: &std::path::Path) -> Result<u64> {
    // Many in a round, after which the probe pauses.
    run.ask(&Step::BeginLoop(vec![path.to_owned(); 100]))?;
    wait::until("the ring is flooded", 2 * wait::SOON, || {
        let Outcome::Tally(tally) = run.ask(&Step::Count)? else { bail!("the probe lost count") };
        Ok(tally.get(&EACCES).filter(|times| **times > FLOOD).map(|_| ()))
    })?;
    match run.ask(&Step::EndLoop)? {
        Outcome::Tally(tally) if tally.keys().eq([&EACCES]) => Ok(tally.values().sum()),
        other => bail!("not all opens were denied: {other:?}"),
    }
}

/// P7: the record of a run that has ended is there for as long as the settings say, across daemons, and then it is gone; that
/// of one that lives stays.
#[test]
fn keeps_the_record_of_an_ended_run_for_its_time() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let living = Run::of(&daemon, USER)?;
    let ended = Run::of(&daemon, USER)?;
    let id = ended.id().to_owned();
    drop(ended);
    wait::until("the run has ended", wait::SOON, || {
        Ok((daemon.show(&id)?.phase == "ended").then_some(()))
    })?;
    daemon.stop()?;
    daemon.start_again()?;
    assert_eq!(daemon.show(&id)?.phase, "ended", "30 days are not over");
    daemon.stop()?;
    daemon.scene().set("keep_ended", Some("1s"))?;
    daemon.start_again()?;
    let file = |id: &str| daemon.scene().state().join(format!("invocations/{id}.json"));
    wait::until("the record is gone", wait::SOON, || Ok((!file(&id).exists()).then_some(())))?;
    let said = daemon.complaint(0, 1, &["show", &id])?;
    assert!(said.contains("no run has an ID"), "{said}");
    assert!(!file(&id).exists() && file(living.id()).exists());
    assert_eq!(living.view(&daemon)?.phase, "active");
    Ok(())
}

/// P7, P9: an ending that the disk does not take holds all the same, operators are told of it, and it is written as soon as the disk
/// takes it: the next daemon knows how the run has ended.
#[test]
fn an_ending_that_the_disk_refuses_is_written_later() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut run = Run::of(&daemon, USER)?;
    let records = daemon.scene().state().join("invocations");
    let none: Option<&str> = None;
    mount(Some(&records), &records, none, MsFlags::MS_BIND, none)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, &records, none, read_only, none)?;
    daemon.revoke(run.id())?;
    let opens = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    assert_eq!(run.errno(&opens)?, EPERM);
    let id = run.id().to_owned();
    drop(run);
    let over = || Ok((daemon.show(&id)?.phase == "ended").then_some(()));
    wait::until("the run is over", wait::SOON, over)?;
    assert_eq!(daemon.status()?.unsaved, 1);
    umount(&records)?;
    let written = || Ok((daemon.status()?.unsaved == 0).then_some(()));
    wait::until("its record is written", wait::SOON, written)?;
    daemon.kill9()?;
    daemon.start_again()?;
    let end = daemon.show(&id)?.end.context("it has no end")?;
    assert_eq!(end.ending, "revoked");
    Ok(())
}
