//! What Prometheus reads is what has happened.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use agentid_common::{map::EVENTS, record::FileRecord};
use agentid_tests::{
    attack::{Attempt, Effort},
    control::request,
    harness::{
        Attacker, Daemon, Run, Scene,
        run::Terms,
        scene::{PINS, USER},
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result, ensure};
use libc::EACCES;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The default of the settings.
const ADDRESS: &str = "127.0.0.1:9187";
/// The same in `/proc/net/tcp`.
const ADDRESS_IN_PROC: &str = "0100007F:23E3";

/// Every sample by its name and labels.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn new() -> Result<Self> {
        let mut stream = TcpStream::connect(ADDRESS)?;
        stream.set_read_timeout(Some(wait::SOON))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: agentid\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "the answer is {answer}");
        let samples = answer.lines().filter(|line| line.starts_with("agentid_"));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').context("a sample without a value")?;
            Ok((name.to_owned(), value.parse()?))
        };
        Ok(Self(samples.map(sample).collect::<Result<_>>()?))
    }

    /// The text is told again for a while: one in which a counter has grown by so much.
    fn with(before: &Self, name: &str, count: f64) -> Result<Self> {
        wait::until("the metrics tell what was done last", wait::SOON, || {
            let scrape = Self::new()?;
            Ok((scrape.since(before, name)? == count).then_some(scrape))
        })
    }

    fn get(&self, name: &str) -> Result<f64> {
        self.0.get(name).copied().with_context(|| format!("there is no {name}"))
    }

    /// How much a counter has grown since.
    fn since(&self, before: &Self, name: &str) -> Result<f64> {
        Ok(self.get(name)? - before.get(name)?)
    }
}

fn daemon() -> Result<Daemon> {
    let wired = Scene::POLICY.replace("\"fixture\"", "\"wired\"");
    let wired = wired.replace("deny = \"all\"", "deny = \"all\"\n        tripwire = true");
    let scene = Scene::with(&[("attacker", Attacker::POLICY), ("wired", &wired)])?;
    scene.set("metrics", None)?;
    Daemon::start_in(scene)
}

/// P7: each operation of a run is counted once, by hook, verdict and reason; what root is refused is counted apart.
#[test]
fn counts_what_was_done() -> Result<()> {
    let daemon = daemon()?;
    let scene = daemon.scene();
    let mut run = Attacker::inside(&daemon, USER)?;
    // A user is refused before anyone is asked on some kernels.
    let mut root = Attacker::inside(&daemon, 0)?;
    let mut outside = Attacker::outside(0)?;
    let before = Scrape::new()?;
    for _ in 0..7 {
        run.errno(&Attempt::Read(scene.denied()))?;
    }
    for _ in 0..5 {
        run.errno(&Attempt::Read(scene.granted()))?;
    }
    for _ in 0..3 {
        root.errno(&Attempt::Bpf(0))?;
    }
    outside.errno(&Attempt::MountOver(PINS.into()))?;
    // Neither of these is anybody's but root's.
    outside.errno(&Attempt::Read(scene.denied()))?;
    outside.errno(&Attempt::Bpf(0))?;
    // A run launches nothing so, and no launch is refused.
    let body = r#"{"policy":"attacker","agent":"a","owner":"o","task":"t"}"#;
    let answer = run.say(&scene.socket(), request("POST /v1/runs", body))?;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let refused = r#"agentid_control_requests_total{result="refused",verb="launch"}"#;
    let after = Scrape::with(&before, refused, 1.0)?;
    for (name, count) in [
        (r#"agentid_launches_total{result="refused"}"#, 0.0),
        (r#"agentid_verdicts_total{hook="file_open",verdict="deny"}"#, 7.0),
        (r#"agentid_verdicts_total{hook="file_open",verdict="allow"}"#, 5.0),
        (r#"agentid_verdicts_total{hook="file_open",verdict="fault"}"#, 0.0),
        (r#"agentid_verdicts_total{hook="bpf",verdict="deny"}"#, 3.0),
        (r#"agentid_denials_total{hook="file_open",reason="no_rule"}"#, 7.0),
        (r#"agentid_denials_total{hook="bpf",reason="guarded"}"#, 3.0),
        (r#"agentid_guarded_total{hook="sb_mount"}"#, 1.0),
        ("agentid_records_lost_total", 0.0),
        ("agentid_revocations_total", 0.0),
    ] {
        assert_eq!(after.since(&before, name)?, count, "{name}");
    }
    assert_eq!(after.get(r#"agentid_instances{state="active"}"#)?, 2.0);
    assert_eq!(after.get(r#"agentid_posture{posture="enforcing"}"#)?, 1.0);
    daemon.revoke(run.id())?;
    Scrape::with(&before, "agentid_revocations_total", 1.0)?;
    // Never an identity among the labels.
    assert!(after.0.keys().all(|name| !name.contains(run.id())));
    Ok(())
}

/// The endpoint is at one address of loopback, and at none besides.
#[test]
fn listens_on_loopback_alone() -> Result<()> {
    let daemon = daemon()?;
    let process = daemon.tgid().context("the daemon is not running")?;
    let listens = |file: &str| -> Result<Vec<String>> {
        let text = fs::read_to_string(format!("/proc/{process}/net/{file}"))?;
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let at_port = lines.filter(|fields| fields.get(1).is_some_and(|at| at.ends_with(":23E3")));
        let listening = at_port.filter(|fields| fields.get(3) == Some(&"0A"));
        Ok(listening.map(|fields| fields[1].to_owned()).collect())
    };
    assert_eq!(listens("tcp")?, [ADDRESS_IN_PROC]);
    assert_eq!(listens("tcp6")?, [""; 0]);
    Ok(())
}

/// P7, P4: with nobody to read the ring it runs full; every denial is counted all the same, and so is every lost record.
/// A tripwire that is met then ends the run no less.
#[test]
fn a_full_ring_hides_no_denial() -> Result<()> {
    const TIME: Duration = Duration::from_secs(12);
    let daemon = daemon()?;
    let mut run = Attacker::inside(&daemon, USER)?;
    let mut wired = Run::launch(&daemon, &Terms { policy: "wired", ..Terms::default() })?;
    let process = daemon.tgid().context("the daemon is not running")?;
    let process = Pid::from_raw(process.cast_signed());
    let before = Scrape::new()?;
    kill(process, Signal::SIGSTOP)?;
    let flood = flood(&mut run, &daemon, TIME);
    let secret = Step::Open { path: daemon.scene().workspace().join("secret"), how: Open::Read };
    let touched = wired.errno(&secret);
    // Whatever came of it, the daemon goes on.
    kill(process, Signal::SIGCONT)?;
    let denied = flood?;
    let after = Scrape::new()?;
    let counted =
        after.since(&before, r#"agentid_denials_total{hook="file_open",reason="no_rule"}"#)?;
    assert_eq!(counted, denied as f64);
    let lost = after.since(&before, "agentid_records_lost_total")?;
    let totals = daemon.show(run.id())?.totals.context("the run has no totals")?;
    assert!(lost > 0.0, "{denied} denials did not fill the ring");
    assert_eq!((totals.lost + wired.totals(&daemon)?.lost) as f64, lost);
    assert_eq!(touched?, EACCES);
    let end = wait::until("the run is ended", wait::SOON, || Ok(wired.view(&daemon)?.end))?;
    let reason = "it met a tripwire, of which no record has come";
    assert_eq!((end.ending.as_str(), end.reason.as_deref()), ("tripwire", Some(reason)));
    assert_eq!(totals.denied, denied);
    assert_eq!(daemon.status()?.posture, "enforcing");
    Ok(())
}

fn flood(run: &mut Attacker, daemon: &Daemon, time: Duration) -> Result<u64> {
    run.begin(&Attempt::Hammer {
        granted: Vec::new(),
        denied: vec![daemon.scene().denied(); 64],
        threads: 2,
        // More records than the ring has room for, however long that takes.
        effort: Effort { time, at_least: u64::from(EVENTS) / size_of::<FileRecord>() as u64 + 1 },
    })?;
    let verdicts = run.verdicts(10 * time)?;
    ensure!(verdicts.wrong.is_empty(), "{:?}", verdicts.wrong);
    Ok(verdicts.right)
}
