//! Who follows the events and loses the stream goes on where it was.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Stdio},
};

use agentid_tests::{
    harness::{
        Daemon, Run,
        cli::output,
        feed::{Feed, list, number},
        mirror::Mirror,
        run::Terms,
        scene::USERS,
        view::Changed,
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result, ensure};
use libc::EACCES;
use serde_json::Value;

/// Denials at a time.
const EACH: u64 = 5;

/// The run is denied something, a few times.
fn deny(daemon: &Daemon, run: &mut Run) -> Result<()> {
    let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    for _ in 0..EACH {
        assert_eq!(run.errno(&step)?, EACCES);
    }
    Ok(())
}

/// The run's own numbers of its records among these events.
fn records(events: &[Value], id: &str) -> Vec<u64> {
    let of_run = |event: &&Value| event["run"]["id"] == id;
    events.iter().filter(of_run).filter_map(|event| event["what"]["sequence"].as_u64()).collect()
}

fn is_whole(records: &[u64]) -> bool {
    records.windows(2).all(|two| two[0] + 1 == two[1])
}

fn rise(events: &[Value]) -> Result<bool> {
    let numbers = events.iter().map(number).collect::<Result<Vec<_>>>()?;
    Ok(numbers.is_sorted_by(|one, next| one < next))
}

/// P7: whoever comes again with the number of his last event gets all that was denied while he was away, and what is denied
/// from then on, each once.
#[test]
fn a_follower_that_reconnects_misses_and_repeats_nothing() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let (_, mut at) = list(&daemon, uid)?;
        let mut told = Vec::new();
        for _ in 0..4 {
            deny(&daemon, &mut run)?;
            let mut feed = Feed::follow_after(&daemon, uid, at)?;
            deny(&daemon, &mut run)?;
            let all = run.totals(&daemon)?.records;
            wait::until("all denials are told", wait::SOON, || {
                feed.take()?;
                let last = records(&feed.events()?, run.id()).last().copied();
                Ok((last == Some(all - 1)).then_some(()))
            })?;
            told.extend(feed.events()?);
            at = number(told.last().context("nothing is told")?)?;
        }
        assert!(rise(&told)?, "uid {uid}: {told:?}");
        let records = records(&told, run.id());
        assert!(is_whole(&records), "uid {uid}: {records:?}");
        assert!(records.len() as u64 >= 8 * EACH, "uid {uid}: {records:?}");
    }
    Ok(())
}

/// `agentid events --follow` of a user.
struct Follower {
    process: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Follower {
    fn start(daemon: &Daemon, uid: u32) -> Result<Self> {
        let file = |name: &str| daemon.scene().path().join(format!("{name}-{uid}"));
        let (out, err) = (file("told"), file("said"));
        let mut command = daemon.agentid();
        command.args(["events", "--follow", "--json"]).uid(uid).gid(uid).stdin(Stdio::null());
        command.stdout(File::create(&out)?).stderr(File::create(&err)?);
        Ok(Self { process: command.spawn()?, out, err })
    }

    /// What it has printed up to now.
    fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.out)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Waits until it knows all that the run was denied.
    fn knows_all(&self, daemon: &Daemon, run: &Run) -> Result<()> {
        let all = run.totals(daemon)?.records;
        wait::until("the follower knows everything", wait::SOON, || {
            let last = records(&self.events()?, run.id()).last().copied();
            Ok((last == Some(all - 1)).then_some(()))
        })
        .with_context(|| fs::read_to_string(&self.err).unwrap_or_default())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("a follower does not end: {error}");
        }
    }
}

/// P7: over a daemon that was killed the command goes on by itself, says so once, and tells that it may have missed something
/// and what was denied while there was no daemon, each once; numbers go on rising.
#[test]
fn a_follower_over_a_restart_of_the_daemon_is_told_what_it_missed() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut both = Vec::new();
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let follower = Follower::start(&daemon, uid)?;
        wait::until("the follower is there", wait::SOON, || {
            deny(&daemon, &mut run)?;
            Ok((!follower.events()?.is_empty()).then_some(()))
        })?;
        both.push((uid, run, follower));
    }
    for (_, run, follower) in &both {
        follower.knows_all(&daemon, run)?;
    }
    daemon.kill9()?;
    for (_, run, _) in &mut both {
        deny(&daemon, run)?;
    }
    daemon.start_again()?;
    for (uid, run, follower) in &mut both {
        deny(&daemon, run)?;
        follower.knows_all(&daemon, run)?;
        let told = follower.events()?;
        assert!(rise(&told)?, "uid {uid}: {told:?}");
        let found = records(&told, run.id());
        assert!(is_whole(&found), "uid {uid}: {found:?}");
        let missed: Vec<&Value> = told.iter().filter(|it| it["what"]["kind"] == "missed").collect();
        assert_eq!(missed.len(), 1, "uid {uid}: {told:?}");
        assert_eq!(missed[0]["what"]["why"], "restarted", "uid {uid}");
        assert!(missed[0]["what"]["count"].is_null(), "uid {uid}: nobody can know");
        let said = fs::read_to_string(&follower.err)?;
        assert_eq!(said.matches("broke off").count(), 1, "uid {uid}: {said}");
        // What is asked for once, and by its number, is the same.
        let after = number(missed[0])?.to_string();
        let mut command = daemon.agentid();
        command.args(["events", "--json", "--after", &after]).uid(*uid).gid(*uid);
        let again = output(&mut command, &[0])?;
        let again = again.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let rest = told.iter().position(|it| it == missed[0]).context("no notice")?;
        assert!(again.starts_with(&told[rest + 1..]), "uid {uid}: {again:?}");
    }
    Ok(())
}

/// P7, P10: the list of runs, and what is told after it, is what `ps` says later, of runs that have ended as well; to each user
/// of its own.
#[test]
fn a_mirror_made_of_list_and_stream_equals_ps() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let terms = Terms { policy: "killed", uid, ..Terms::default() };
        let known = Run::launch(&daemon, &terms)?;
        let (runs, at) = list(&daemon, uid)?;
        let mut mirror = Mirror::of(runs)?;
        let mut feed = Feed::follow_after(&daemon, uid, at)?;

        let new = Terms { ttl: Some("20m"), label: Some("team=core"), ..terms.clone() };
        let new = Run::launch(&daemon, &new)?;
        let below = Terms { parent: Some(new.id()), ..terms.clone() };
        let _below = Run::launch(&daemon, &below)?;
        let last = Run::launch(&daemon, &terms)?;
        let held = Run::launch(&daemon, &terms)?;
        for (verb, id) in [("suspend", held.id()), ("suspend", known.id()), ("resume", known.id())]
        {
            let _: Changed = daemon.ask(&[verb, id, "--reason", "look"])?;
        }
        let _: Changed = daemon.ask(&["extend", new.id(), "--by", "1m"])?;
        daemon.revoke_and_kill(known.id())?;
        daemon.revoke_and_kill(new.id())?;
        ensure!(last.finish()?.success());

        let mut command = daemon.agentid();
        command.args(["ps", "--all", "--json"]).uid(uid).gid(uid);
        let mut taken = 0;
        wait::until("the mirror equals ps", wait::SOON, || {
            feed.take()?;
            let events = feed.events()?;
            events.iter().skip(taken).try_for_each(|event| mirror.take(event))?;
            taken = events.len();
            let ps = Mirror::of(serde_json::from_str(&output(&mut command, &[0])?)?)?;
            Ok(mirror.agrees_with(&ps).then_some(()))
        })
        .with_context(|| format!("uid {uid}: {mirror:?}"))?;
        let phase = |run: &Run| mirror.0.get(run.id()).map(|run| run["phase"].clone());
        let phases = [&held, &known, &new].map(phase);
        assert_eq!(phases, ["suspended", "ended", "ended"].map(|it| Some(it.into())), "uid {uid}");
    }
    Ok(())
}
