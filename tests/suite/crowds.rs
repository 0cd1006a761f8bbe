//! Many runs, many followers, and clients that do not do their part.

use agentid_tests::{
    attack::Attempt,
    control::request,
    harness::{
        Attacker, Crowd, Daemon, Run,
        crowd::{median, usual},
        feed::{Feed, Stuck, Told},
        footprint::memory_kib,
        note, scale,
        scene::USER,
        view::{RevokedAll, Totals, What},
        wait,
    },
    step::{Open, Outcome, Step},
};
use anyhow::{Result, bail, ensure};
use libc::{EACCES, EPERM};

/// Runs that live at once. `AGENTID_RUNS` of `cargo xtask test` sets another number.
const RUNS: usize = 300;
/// Launches of which the middle one is taken.
const SAMPLE: usize = 50;
/// By how much a launch, a denial, or a whole revocation may take longer beside many runs than beside none.
const FLAT: u64 = 5;

/// P4: beside hundreds of runs one is launched, denied everything, and gone, as fast as beside none; each of them has its own life,
/// and one request ends them all.
#[test]
fn launches_and_denials_are_flat_in_the_number_of_runs() -> Result<()> {
    let runs = scale::asked("runs", RUNS)?;
    let daemon = Daemon::shared()?;
    let path = daemon.scene().granted();
    let mut crowd = Crowd::of(0)?;
    crowd.cycle(&daemon, SAMPLE)?;
    let alone = usual(&crowd.cycle(&daemon, SAMPLE)?);
    let mut many = Crowd::of(USER)?;
    let launched = many.launch(&daemon, "fixture", None, runs)?;
    let took: Vec<u64> =
        launched.iter().filter_map(|one| u64::try_from(one.took.as_micros()).ok()).collect();
    let first = median(took.iter().copied().take(SAMPLE));
    let last = median(took.iter().copied().rev().take(SAMPLE));
    let among = usual(&crowd.cycle(&daemon, SAMPLE)?);
    let total: u64 = took.iter().sum();
    note(format_args!(
        "{runs} launches in {} ms, {} a minute; the first {first} us, the last {last} us; alone {alone:?}, among all {among:?}",
        total / 1000,
        runs as u64 * 60_000_000 / total.max(1),
    ));
    assert_eq!(daemon.ps()?.len(), runs);
    many.all_open(&path, runs)?;
    assert!(last <= first * FLAT, "{first} and {last} us");
    assert!(among.launch <= alone.launch * FLAT, "{alone:?} and {among:?}");
    assert!(among.denial <= alone.denial * FLAT, "{alone:?} and {among:?}");
    assert!(among.revocation <= alone.revocation * FLAT, "{alone:?} and {among:?}");
    let revoked: RevokedAll = daemon.ask(&["revoke", "--all", "--yes"])?;
    assert_eq!(revoked.runs.len(), runs);
    assert_eq!(many.open(&path)?, [(EPERM, runs)].into());
    Ok(())
}

/// How many connections one user can have.
const PER_USER: usize = 64;
/// By how much a revocation may take longer while somebody has them all and does nothing with them.
const BESIDE_STUCK: u64 = 5;

/// P4: another user who takes all connections that he gets, begins requests and reads nothing, delays no revocation.
#[test]
fn a_stuck_client_delays_no_revocation() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut crowd = Crowd::of(0)?;
    crowd.cycle(&daemon, SAMPLE)?;
    let quiet = usual(&crowd.cycle(&daemon, SAMPLE)?);
    // Something to be told that is not read.
    let mut of_user = Crowd::of(USER)?;
    let mut beside = Vec::new();
    let stuck = Stuck::of(&daemon, USER, PER_USER)?;
    for _ in 0..2 {
        let again = Stuck::of(&daemon, USER, PER_USER)?;
        beside.push(usual(&crowd.cycle(&daemon, SAMPLE / 2)?));
        drop(again);
    }
    let follows = stuck.open()?;
    note(format_args!("alone {quiet:?} us, beside a stuck user {beside:?} us"));
    assert!(follows >= PER_USER / 2, "{follows} connections are left that were to be in the way");
    for beside in beside {
        assert!(beside.denial <= quiet.denial * BESIDE_STUCK, "{quiet:?} and {beside:?}");
        assert!(beside.revocation <= quiet.revocation * BESIDE_STUCK, "{quiet:?} and {beside:?}");
    }
    drop(stuck);
    // Who has let go of them is served again.
    let served = || Ok(daemon.complaint(USER, 0, &["status"]).ok());
    wait::until("the user is served again", wait::SOON, served)?;
    of_user.cycle(&daemon, 1)?;
    Ok(())
}

/// P4: a run that takes all connections that it gets leaves its user those that he has, and the way to end it; it is still
/// answered itself.
#[test]
fn a_run_takes_no_connection_of_its_users() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    let mut run = Attacker::inside(&daemon, USER)?;
    let stuck = Stuck::of(&daemon, USER, PER_USER - 1)?;
    // Whoever is answered has come after them.
    daemon.complaint(USER, 0, &["status"])?;
    let before = stuck.open()?;
    assert_eq!(run.errno(&Attempt::Crowd { socket: socket.clone(), count: 2 * PER_USER })?, 0);
    let answer = run.say(&socket, request("GET /v1/whoami", ""))?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(stuck.open()?, before);
    daemon.complaint(USER, 0, &["revoke", run.id()])?;
    Ok(())
}

/// Followers at once, of whom some read nothing until the end.
const FOLLOWERS: usize = 200;
const SLOW: usize = 8;
/// Denials that everybody reads.
const EACH: u64 = 100;
/// Denials that are more than fits into what the daemon and the kernel keep for one who does not read.
const FLOOD: u64 = 5000;
/// More events than the daemon remembers.
const REMEMBERED: u64 = 10_500;
/// What the daemon may need for two hundred followers, and how much more when some of them read nothing.
const FOR_FOLLOWERS_KIB: u64 = 48 << 10;
const FOR_SLOW_KIB: u64 = 24 << 10;

/// Has a run be denied at least so much, as fast as it can.
fn deny(
    daemon: &Daemon,
    run: &mut Run,
    times: u64,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<()> {
    run.ask(&Step::BeginLoop(vec![daemon.scene().denied()]))?;
    wait::until("enough was denied", wait::SOON, || {
        meanwhile()?;
        let Outcome::Tally(tally) = run.ask(&Step::Count)? else { bail!("no tally") };
        Ok(tally.get(&EACCES).is_some_and(|count| *count >= times).then_some(()))
    })?;
    run.ask(&Step::EndLoop)?;
    Ok(())
}

/// P7: two hundred followers are each told everything. Those who do not read are told how much they have missed; nobody
/// waits for them, and the daemon's memory does not grow with what they leave unread.
#[test]
fn two_hundred_followers_are_told_everything_with_flat_memory() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = Run::of(&daemon, USER)?;
    // What it remembers for those who come later grows up to a bound, which is reached here.
    deny(&daemon, &mut run, REMEMBERED, || Ok(()))?;
    wait::until("the daemon has read them", wait::SOON, || {
        let last = daemon.last_event(run.id())?.map(|event| event.what);
        let records = run.totals(&daemon)?.records;
        Ok(matches!(last, Some(What::Access(access)) if access.sequence + 1 == records)
            .then_some(()))
    })?;
    let before = memory_kib(&daemon)?;
    let feeds: Result<Vec<Feed>> = (0..FOLLOWERS).map(|_| Feed::follow(&daemon)).collect();
    let mut feeds = feeds?;
    let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    let Totals { records: first, lost, .. } = run.totals(&daemon)?;
    for _ in 0..EACH {
        assert_eq!(run.errno(&step)?, EACCES);
    }
    let expected = Told { records: (first..first + EACH).collect(), dropped: 0 };
    for (number, feed) in feeds.iter_mut().enumerate() {
        wait::until("the follower knows everything", wait::SOON, || {
            feed.take()?;
            ensure!(!feed.over, "follower {number} was cut off");
            Ok((Told::of(feed, run.id())? == expected).then_some(()))
        })?;
    }
    let with_all = memory_kib(&daemon)?;

    let mut quick = feeds.split_off(FOLLOWERS - 1);
    let mut slow = feeds.split_off(FOLLOWERS - 1 - SLOW);
    drop(feeds);
    deny(&daemon, &mut run, FLOOD, || quick.iter_mut().try_for_each(Feed::take))?;
    let with_slow = memory_kib(&daemon)?;
    for feed in quick.iter_mut().chain(&mut slow) {
        let mut last = None;
        wait::until("the follower knows what it has missed", wait::SOON, || {
            let totals = run.totals(&daemon)?;
            feed.take()?;
            let told = Told::of(feed, run.id())?;
            let known = told.records.len() as u64 + told.dropped + totals.lost - lost;
            if known == totals.records - first {
                return Ok(Some(()));
            }
            // There is room again when he reads, and the next event brings the news of those before.
            if last.as_ref() == Some(&told) {
                assert_eq!(run.errno(&step)?, EACCES);
            }
            last = Some(told);
            Ok(None)
        })?;
        let told = Told::of(feed, run.id())?;
        assert!(told.records.is_sorted_by(|one, next| one < next), "records out of order");
    }
    let missed = |feed: &Feed| Ok::<u64, anyhow::Error>(Told::of(feed, run.id())?.dropped);
    let missed = slow.iter().map(missed).collect::<Result<Vec<_>>>()?;
    let after = memory_kib(&daemon)?;
    note(format_args!(
        "memory {before} KiB, with {FOLLOWERS} followers {with_all}, with {SLOW} slow ones {with_slow}, after all {after}; \
         missed {missed:?}"
    ));
    assert!(missed.iter().all(|count| *count > 0), "{missed:?}: everything had room");
    assert!(with_all <= before + FOR_FOLLOWERS_KIB, "{before} and {with_all} KiB");
    assert!(
        with_slow.max(after) <= with_all + FOR_SLOW_KIB,
        "{with_all}, {with_slow}, {after} KiB"
    );
    Ok(())
}
