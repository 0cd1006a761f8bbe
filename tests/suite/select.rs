//! Many runs by what they are.

use std::{
    collections::BTreeSet,
    fs::File,
    process::{Child, Stdio},
};

use agentid_tests::{
    harness::{
        Daemon, Run,
        cli::output,
        run::Terms,
        scene::{USER, USERS},
        view::{Changed, RevokedAll, RunView},
        wait,
    },
    step::{Open, Step},
};
use anyhow::Result;
use libc::{EACCES, EPERM};
use serde_json::Value;

/// P4: one request ends all runs that are meant, and no other one.
#[test]
fn a_selection_ends_what_it_names_and_nothing_beside() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        let with = |label| Run::launch(&daemon, &Terms { uid, label, ..Terms::default() });
        let mut meant = [with(Some("team=core"))?, with(Some("team=core"))?];
        let mut others = [with(Some("team=other"))?, with(None)?];
        let refused = daemon.complaint(uid, 2, &["revoke", "--label", "team=core"])?;
        assert!(refused.contains("2 runs:") && refused.contains("--yes"), "{refused}");
        for run in meant.iter_mut().chain(&mut others) {
            assert_eq!(run.errno(&step)?, 0, "nothing was done without being asked");
        }
        let select = ["--label", "team=core", "--yes"];
        let changed: Changed = daemon.ask(&[&["suspend", "--no-freeze"][..], &select].concat())?;
        assert_eq!(changed.runs.len(), 2);
        let revoked: RevokedAll = daemon.ask(&[&["revoke"][..], &select].concat())?;
        let mut ids: Vec<&str> = revoked.runs.iter().map(|run| run.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [meant[0].id(), meant[1].id()]);
        for run in &mut meant {
            assert_eq!(run.errno(&step)?, EPERM);
        }
        for run in &mut others {
            assert_eq!(run.errno(&step)?, 0);
        }
    }
    Ok(())
}

/// P10: a user selects among its own runs alone; root among all.
#[test]
fn users_select_among_their_own_runs() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    let (mut of_root, mut of_user) = (Run::of(&daemon, 0)?, Run::of(&daemon, USER)?);
    let said = daemon.complaint(USER, 0, &["revoke", "--all", "--yes"])?;
    assert_eq!(said, "");
    assert_eq!(of_user.errno(&step)?, EPERM);
    assert_eq!(of_root.errno(&step)?, 0);
    let mut of_user = Run::of(&daemon, USER)?;
    let hidden = daemon.complaint(USER, 1, &["suspend", "--children-of", of_root.id(), "--yes"])?;
    assert!(hidden.contains("no run has an ID"), "{hidden}");
    let revoked: RevokedAll = daemon.ask(&["revoke", "--owner", "suite", "--yes"])?;
    assert_eq!(revoked.runs.len(), 2);
    assert_eq!((of_root.errno(&step)?, of_user.errno(&step)?), (EPERM, EPERM));
    Ok(())
}

fn ids(runs: &[RunView]) -> BTreeSet<&str> {
    runs.iter().map(|run| run.id.as_str()).collect()
}

/// P4: each filter leaves the runs that it names, and several leave those that all of them name.
#[test]
fn each_filter_selects_by_what_it_is_called_after() -> Result<()> {
    let daemon = Daemon::shared()?;
    let terms = Terms { uid: USER, ..Terms::default() };
    let one =
        Run::launch(&daemon, &Terms { task: "T-1", label: Some("team=core"), ..terms.clone() })?;
    let two = Run::launch(&daemon, &Terms { owner: "bob", policy: "killed", ..terms.clone() })?;
    let below = Run::launch(&daemon, &Terms { parent: Some(one.id()), ..terms })?;
    let (one, two, below) = (one.id(), two.id(), below.id());
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--agent", "probe"], &[one, two, below]),
        (&["--agent", "robot"], &[]),
        (&["--owner", "bob"], &[two]),
        (&["--task", "T-1"], &[one]),
        (&["--policy", "killed"], &[two]),
        (&["--label", "team=core"], &[one]),
        (&["--label", "team"], &[]),
        (&["--children-of", one], &[below]),
        (&["--older-than", "1ms"], &[one, two, below]),
        (&["--older-than", "1h"], &[]),
        (&["--owner", "suite", "--policy", "fixture", "--task", "test"], &[below]),
        (&["--owner", "bob", "--task", "T-1"], &[]),
    ];
    for (filters, expected) in cases {
        if filters == ["--label", "team"] {
            let refused = daemon.complaint(0, 2, &["ps", "--label", "team"])?;
            assert!(refused.contains("team"), "{refused}");
            continue;
        }
        let runs: Vec<RunView> = daemon.ask(&[&["ps"], filters].concat())?;
        assert_eq!(ids(&runs), expected.iter().copied().collect(), "{filters:?}");
    }
    Ok(())
}

/// What is printed to whoever follows a selection.
struct Follower {
    child: Child,
    printed: tempfile::NamedTempFile,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

impl Follower {
    fn of(daemon: &Daemon, selection: &[&str]) -> Result<Self> {
        let printed = tempfile::NamedTempFile::new()?;
        let mut command = daemon.agentid();
        command.args(["events", "--follow", "--json"]).args(selection).stdin(Stdio::null());
        let child = command.stdout(File::options().append(true).open(printed.path())?).spawn()?;
        Ok(Self { child, printed })
    }

    /// The kinds of the events of a run, and of which runs there are any.
    fn told(&self, id: &str) -> Result<(Vec<String>, BTreeSet<String>)> {
        let text = std::fs::read_to_string(self.printed.path())?;
        let (mut kinds, mut runs) = (Vec::new(), BTreeSet::new());
        // The last line may be under way.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Value = serde_json::from_str(line)?;
            let of = event["run"]["id"].as_str().unwrap_or("none").to_owned();
            if of == id {
                kinds.push(event["what"]["kind"].as_str().unwrap_or_default().to_owned());
            }
            runs.insert(of);
        }
        Ok((kinds, runs))
    }
}

/// P7: whoever asks for a selection is shown all of its runs, as many as there are, and nothing of others; whoever follows
/// it is also told of a run that is launched later.
#[test]
fn show_tree_and_events_take_a_selection() -> Result<()> {
    let daemon = Daemon::shared()?;
    let step = Step::Open { path: daemon.scene().denied(), how: Open::Read };
    let of = |label| Terms { uid: USER, label: Some(label), ..Terms::default() };
    let with = |label| Run::launch(&daemon, &of(label));
    let (mut one, two) = (with("kind=seen")?, with("kind=seen")?);
    let above = one.id().to_owned();
    let below = Run::launch(&daemon, &Terms { parent: Some(&above), ..of("kind=below") })?;
    let mut other = with("kind=other")?;
    let select = ["--label", "kind=seen", "--owner", "suite"];
    let shown: Vec<RunView> = daemon.ask(&[&["show"][..], &select].concat())?;
    assert_eq!(ids(&shown), BTreeSet::from([one.id(), two.id()]));
    let hit: Vec<Option<u64>> = shown.iter().map(|run| run.below).collect();
    assert_eq!(hit, [Some(1), Some(0)], "what is below one of them");
    let tree: Vec<Value> = daemon.ask(&[&["tree"][..], &select].concat())?;
    let in_tree: BTreeSet<&str> = tree.iter().filter_map(|it| it["run"]["id"].as_str()).collect();
    assert_eq!(in_tree, BTreeSet::from([one.id(), two.id(), below.id()]));
    for run in [&mut one, &mut other] {
        assert_eq!(run.errno(&step)?, EACCES);
    }
    let mut command = daemon.agentid();
    let past = output(command.args(["events", "--json"]).args(select), &[0])?;
    let events = past.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let of: BTreeSet<&str> = events.iter().filter_map(|it| it["run"]["id"].as_str()).collect();
    assert_eq!(of, BTreeSet::from([one.id(), two.id()]));
    let path = daemon.scene().denied().display().to_string();
    let denied = |event: &&Value| event["what"]["object"]["file"]["path"] == path;
    assert_eq!(events.iter().filter(denied).count(), 1, "{past}");

    let follower = Follower::of(&daemon, &["--label", "kind=later", "--last", "9"])?;
    // It follows when it is told of one of two runs: the first may be launched too early for that.
    let first = wait::until("it follows", wait::SOON, || {
        let run = with("kind=later")?;
        let (kinds, _) = follower.told(run.id())?;
        Ok((!kinds.is_empty()).then_some(run))
    })?;
    let mut later = with("kind=later")?;
    for run in [&mut other, &mut later] {
        assert_eq!(run.errno(&step)?, EACCES);
    }
    let records = usize::try_from(later.totals(&daemon)?.records)?;
    let (kinds, runs) = wait::until("the later run is told of", wait::SOON, || {
        let (kinds, runs) = follower.told(later.id())?;
        Ok((kinds.len() > records).then_some((kinds, runs)))
    })?;
    assert_eq!(kinds.first().map(String::as_str), Some("launched"));
    assert!(!runs.contains("none") && !runs.contains(other.id()), "{runs:?}");
    assert!(runs.contains(first.id()), "{runs:?}");
    Ok(())
}

/// P10: what could mean several runs is refused with those, by every verb; what means one alone is that one, for each.
#[test]
fn an_id_may_be_cut_short_as_long_as_it_means_one_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (one, two) = (Run::of(&daemon, USER)?, Run::of(&daemon, USER)?);
    // Both begin with the time at which they were launched.
    let common = one.id().bytes().zip(two.id().bytes()).take_while(|(a, b)| a == b).count();
    let short = &one.id()[one.id().len() - 12..];
    let verbs: [&[&str]; 11] = [
        &["show", "ID"],
        &["tree", "ID"],
        &["events", "--id", "ID"],
        &["why", "ID", "--open", "/etc/passwd", "--quiet"],
        &["ps", "--children-of", "ID"],
        &["suspend", "ID", "--no-freeze"],
        &["resume", "ID"],
        &["extend", "ID", "--by", "1s"],
        &["suspend", "--children-of", "ID", "--yes"],
        &["revoke", "--children-of", "ID", "--yes"],
        &["revoke", "ID"],
    ];
    let with = |verb: &[&str], id| -> Vec<String> {
        verb.iter().map(|word| if *word == "ID" { id } else { *word }.to_owned()).collect()
    };
    for verb in verbs {
        let words = with(verb, &one.id()[..common]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = daemon.complaint(USER, 1, &words)?;
        assert!(said.contains("runs have an ID that starts or ends with"), "{verb:?}: {said}");
        assert!(said.contains(one.id()) && said.contains(two.id()), "{verb:?}: {said}");
    }
    for verb in verbs {
        let words = with(verb, short);
        // What comes of it is no matter here.
        let done = daemon.agentid().args(&words).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!said.contains("an ID"), "{verb:?}: {said}");
    }
    assert_eq!(one.view(&daemon)?.end.map(|end| end.ending), Some("revoked".to_owned()));
    assert!(two.view(&daemon)?.end.is_none());
    Ok(())
}
