//! What agentid is for, case by case.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::fs::symlink},
    path::Path,
    process::Stdio,
    time::Instant,
};

use agentid_tests::{
    attack::Attempt,
    channel::{Channel, Heard},
    harness::{
        Attacker, Daemon, Place, Run, Scene, note,
        run::Terms,
        scene::{PROBE, USERS},
        taken::socket_of,
        view::RevokedAll,
        wait,
    },
    step::{Open, Outcome, Protocol, Step},
};
use anyhow::{Context as _, Result, bail, ensure};
use libc::{EACCES, EPERM};

fn read(path: impl AsRef<Path>) -> Step {
    Step::Open { path: path.as_ref().to_owned(), how: Open::Read }
}

fn write(path: impl AsRef<Path>) -> Step {
    Step::Open { path: path.as_ref().to_owned(), how: Open::Write }
}

/// P4, P10: two runs of one agent for two tickets are two identities: each has its own ID, owner, task and folder, what is
/// recorded is recorded of the right one, and the end of one ticket is not the end of the other.
#[test]
fn a_support_agent_has_one_identity_for_each_ticket() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let desk = Place::below(daemon.scene().path())?;
        let folders = ["ticket-1", "ticket-2"].map(|ticket| desk.path().join(ticket));
        for folder in &folders {
            fs::create_dir(folder)?;
            desk.open_to_all(folder)?;
            desk.file(&folder.join("case"))?;
        }
        let [one, two] = [("ada", "TICKET-1", &folders[0]), ("ben", "TICKET-2", &folders[1])];
        let launch = |(owner, task, folder): (&str, &str, &std::path::PathBuf)| {
            let terms = Terms { uid, owner, task, workspace: Some(folder), ..Terms::default() };
            let run = Run::launch(&daemon, &terms)?;
            let view = run.view(&daemon)?;
            assert_eq!((view.owner.as_str(), view.task.as_str()), (owner, task), "uid {uid}");
            Ok::<_, anyhow::Error>(run)
        };
        let (mut first, mut second) = (launch(one)?, launch(two)?);
        assert_ne!(first.id(), second.id());
        for (run, own, other) in
            [(&mut first, &folders[0], &folders[1]), (&mut second, &folders[1], &folders[0])]
        {
            assert_eq!(run.errno(&write(own.join("case")))?, 0, "uid {uid}");
            assert_eq!(run.errno(&read(other.join("case")))?, EACCES, "uid {uid}: another ticket");
        }
        for (run, other) in [(&first, "ticket-2"), (&second, "ticket-1")] {
            let told = || {
                let story = daemon.story(run.id())?;
                Ok(story.contains(&format!("{other}/case")).then_some(story))
            };
            let story = wait::until("the denial is told", wait::SOON, told)?;
            let own = if other == "ticket-2" { "ticket-1" } else { "ticket-2" };
            assert!(!story.contains(&format!("{own}/case")), "uid {uid}: {story}");
        }
        let ended: RevokedAll = daemon.ask(&["revoke", "--task", "TICKET-1", "--yes"])?;
        assert_eq!(ended.runs.len(), 1, "uid {uid}");
        assert_eq!(first.errno(&read(folders[0].join("case")))?, EPERM, "uid {uid}");
        assert_eq!(second.errno(&read(folders[1].join("case")))?, 0, "uid {uid}");
    }
    Ok(())
}

/// What `supervisor` has beside the rules of `fixture`: it starts `agentid`, which looks at itself, to delegate.
const DELEGATES: &str = r#"
    [[file]]
    paths = ["/usr/bin/agentid"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["/proc/**"]
    allow = ["read"]
    [[file]]
    paths = ["/dev/null"]
    allow = ["read", "write"]
    [delegate]
    to = ["researcher"]
"#;

/// `researcher` only reads, and asks nobody.
fn supervised() -> Result<Scene> {
    let supervisor = Scene::POLICY.replace("\"fixture\"", "\"supervisor\"") + DELEGATES;
    let researcher = Scene::POLICY
        .replace("\"fixture\"", "\"researcher\"")
        .replace("\"read\", \"write\", \"create\", \"exec\"", "\"read\"");
    let researcher = researcher.split("[[net]]").next().unwrap_or_default();
    Scene::with(&[("supervisor", &supervisor), ("researcher", researcher)])
}

/// P2: a research agent that another agent has started has not the rights of the one that started it, which keeps them.
#[test]
fn a_delegated_research_agent_cannot_do_what_its_parent_can() -> Result<()> {
    let daemon = Daemon::start_in(supervised()?)?;
    let peer = agentid_tests::harness::Peer::granted()?;
    let path = daemon.scene().granted();
    let connect = Step::Connect { to: peer.v4(), protocol: Protocol::Tcp };
    let chain = ["supervisor", "researcher"];
    for uid in USERS {
        let mut child = Run::delegated(&daemon, uid, &chain, "spawn")?;
        assert_eq!(child.view(&daemon)?.above.len(), 1);
        assert_eq!(child.errno(&read(&path))?, 0, "uid {uid}: the child");
        assert_eq!(child.errno(&write(&path))?, EACCES, "uid {uid}: the child");
        assert_eq!(child.errno(&connect)?, EACCES, "uid {uid}: the child");
        child.finish()?;
        let mut parent = Run::delegated(&daemon, uid, &chain, "before")?;
        assert_eq!(parent.view(&daemon)?.above.len(), 0);
        for step in [&read(&path), &write(&path), &connect] {
            assert_eq!(parent.errno(step)?, 0, "uid {uid}: the parent: {step:?}");
        }
    }
    Ok(())
}

/// P2, P9: when the policy of a run is narrowed, what it has delegated is narrowed with it from its next operation on, although
/// its own policy stays as it was.
#[test]
fn narrowing_a_parent_narrows_its_children_while_they_work() -> Result<()> {
    let wide = Scene::POLICY.replace("\"fixture\"", "\"wide\"");
    let scene = Scene::with(&[("fixture", Scene::POLICY), ("wide", &wide)])?;
    let file = scene.path().join("policies/wide.toml");
    let daemon = Daemon::start_in(scene)?;
    let work = daemon.scene().workspace();
    let path = daemon.scene().granted();
    let narrow = wide.replace("\"read\", \"write\", \"create\", \"exec\"", "\"write\"");
    for uid in USERS {
        let parent = Run::launch(&daemon, &Terms { policy: "wide", uid, ..Terms::default() })?;
        let terms = |parent| Terms { parent: Some(parent), uid, ..Terms::default() };
        let mut child = Run::launch(&daemon, &terms(parent.id()))?;
        let grandchild = Run::launch(&daemon, &terms(child.id()))?;
        let mut beside = Run::of(&daemon, uid)?;
        let mut workers = [grandchild, Run::launch(&daemon, &terms(parent.id()))?];
        for run in &mut workers {
            run.ask(&Step::BeginLoop(vec![path.clone()]))?;
        }
        beside.ask(&Step::BeginLoop(vec![path.clone()]))?;
        let tally = |run: &mut Run, step: &Step| match run.ask(step)? {
            Outcome::Tally(tally) => Ok(tally),
            other => bail!("{step:?} gave {other:?}"),
        };
        for run in &mut workers {
            let some = || Ok((!tally(run, &Step::Count)?.is_empty()).then_some(()));
            wait::until("it works", wait::SOON, some)?;
        }
        fs::write(&file, &narrow)?;
        daemon.reload()?;
        let renewed = || Ok(daemon.story(parent.id())?.contains("policy renewed").then_some(()));
        wait::until("the parent is held by the new version", wait::SOON, renewed)?;
        // From here on nothing more is granted, to those that were at it least of all.
        for run in &mut workers {
            let before = tally(run, &Step::Count)?;
            let more = || {
                let now = tally(run, &Step::Count)?;
                Ok((now.get(&EACCES) > before.get(&EACCES)).then_some(now))
            };
            let now = wait::until("it goes on", wait::SOON, more)?;
            assert_eq!(now.get(&0), before.get(&0), "uid {uid}: {now:?}");
            assert!(tally(run, &Step::EndLoop)?.keys().eq([&0, &EACCES]), "uid {uid}");
            assert_eq!(run.errno(&write(&path))?, 0, "uid {uid}: what both still grant");
        }
        assert_eq!(child.errno(&read(&path))?, EACCES, "uid {uid}");
        assert!(tally(&mut beside, &Step::EndLoop)?.keys().eq([&0]), "uid {uid}: who is not below");
        assert!(work.exists());
        drop((parent, child, workers, beside));
        fs::write(&file, &wide)?;
        daemon.reload()?;
    }
    Ok(())
}

/// What each step of the pipeline may do: read what the one before has made, make its own, and know its own secrets.
const STEP: &str = r#"
    name = "step"
    ttl = "20m"
    on_end = "deny"
    params = ["input", "output", "secrets"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${input}/**", "${secrets}/**"]
    allow = ["read"]
    [[file]]
    paths = ["${output}/**"]
    allow = ["read", "write", "create"]
"#;

/// P2, P10: the second step of a pipeline reads what the first has made and not the third's secrets, on whatever way, while
/// the third, of the same user and the same policy, reads them.
#[test]
fn the_second_step_of_a_pipeline_cannot_read_the_secrets_of_the_third() -> Result<()> {
    let daemon = Daemon::start_in(Scene::with(&[("step", STEP)])?)?;
    for uid in USERS {
        let place = Place::below(daemon.scene().path())?;
        let folder = |kind: &str, step: usize| place.path().join(format!("{kind}-{step}"));
        for (kind, step) in
            ["out", "keys"].into_iter().flat_map(|kind| (0..4).map(move |n| (kind, n)))
        {
            fs::create_dir(folder(kind, step))?;
            place.open_to_all(&folder(kind, step))?;
            place.file_of_user(&folder(kind, step).join("file"))?;
        }
        let launch = |step: usize| {
            let mut command = daemon.agentid();
            command.args(["run", "--policy", "step", "--agent", "pipeline", "--owner", "suite"]);
            command.args(["--task", &format!("step {step}")]);
            for (param, path) in [
                ("input", folder("out", step - 1)),
                ("output", folder("out", step)),
                ("secrets", folder("keys", step)),
            ] {
                command.args(["--param", &format!("{param}={}", path.display())]);
            }
            command.args(["--", PROBE]);
            Run::start(&daemon, command, uid, Stdio::piped())
        };
        let (mut second, mut third) = (launch(2)?, launch(3)?);
        let secret = folder("keys", 3).join("file");
        symlink(&secret, folder("out", 2).join("link"))?;
        let way_round = folder("keys", 2).join("../keys-3/file");
        for path in [&secret, &folder("out", 2).join("link"), &way_round] {
            assert_eq!(second.errno(&read(path))?, EACCES, "uid {uid}: {}", path.display());
        }
        assert_eq!(second.errno(&write(&secret))?, EACCES, "uid {uid}");
        assert_eq!(second.errno(&Step::List(folder("keys", 3)))?, EACCES, "uid {uid}");
        for path in [folder("out", 1), folder("keys", 2), folder("out", 2)] {
            assert_eq!(second.errno(&read(path.join("file")))?, 0, "uid {uid}: its own");
        }
        assert_eq!(second.errno(&write(folder("out", 2).join("file")))?, 0, "uid {uid}");
        assert_eq!(third.errno(&read(&secret))?, 0, "uid {uid}: the third step");
        assert_eq!(third.errno(&read(folder("out", 2).join("file")))?, 0, "uid {uid}");
        assert_eq!(third.errno(&read(folder("keys", 2).join("file")))?, EACCES, "uid {uid}");
    }
    Ok(())
}

/// A server that answers each byte with one.
fn database() -> Result<TcpListener> {
    (20_000..30_000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).context("no port")
}

/// P4: a run that may ask a database may do so while it lasts. What somebody has kept of its connection is of no use after it,
/// however it has ended, and the database is not asked anything more.
#[test]
fn the_right_to_query_data_ends_with_the_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    for (uid, by_itself) in USERS.into_iter().flat_map(|uid| [(uid, true), (uid, false)]) {
        let database = database()?;
        let to = database.local_addr()?;
        let call = Step::Call { to, protocol: Protocol::Tcp };
        let mut run = Run::of(&daemon, uid)?;
        assert_eq!(run.errno(&call)?, 0, "uid {uid}");
        let (mut server, _) = database.accept()?;
        server.set_read_timeout(Some(wait::SOON))?;
        assert_eq!(run.errno(&Step::Say)?, 0, "uid {uid}");
        server.read_exact(&mut [0])?;
        let kept: OwnedFd = socket_of(&run)?;
        let id = run.id().to_owned();
        if by_itself {
            ensure!(run.finish()?.success());
        } else {
            daemon.revoke(&id)?;
            assert_eq!(run.errno(&Step::Say)?, EPERM, "uid {uid}");
            assert_eq!(run.errno(&call)?, EPERM, "uid {uid}");
            drop(run);
        }
        let over = || Ok((daemon.show(&id)?.phase == "ended").then_some(()));
        wait::until("the run is over", wait::SOON, over)?;
        let said = TcpStream::from(kept).write_all(b"select");
        note(format_args!("uid {uid}, by itself {by_itself}: {said:?}"));
        server.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        let begun = Instant::now();
        let heard = server.read(&mut [0; 8]);
        assert!(
            !matches!(heard, Ok(count) if count > 0),
            "uid {uid}: {heard:?} {:?}",
            begun.elapsed()
        );
    }
    Ok(())
}

/// P1, P4: what a run has left behind, with other parents and in a session of its own, is that run's: its first process is long
/// gone, another run of the same policy goes on, and the end of the run is its end.
#[test]
fn a_late_grandchild_is_still_the_first_run_s() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let workspace = format!("workspace={}", daemon.scene().workspace().display());
        let mut command = daemon.agentid();
        command.args(["run", "--policy", "fixture", "--agent", "probe", "--owner", "suite"]);
        command.args(["--task", "late", "--param", &workspace, "--", PROBE, "late"]);
        let (mut channel, memory) = Channel::new()?;
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, uid);
        let mut first = command.stdin(memory).stdout(Stdio::null()).spawn()?;
        let Heard::Word(Outcome::Hello { run: Some(id) }) = channel.hear(wait::SOON)? else {
            bail!("the grandchild does not say anything");
        };
        // `agentid run` has become the first process, which has left the rest to others.
        assert!(first.wait()?.success(), "uid {uid}");
        let mut other = Run::of(&daemon, uid)?;
        let mut ask = |step: &Step| -> Result<Outcome> {
            channel.say(step)?;
            match channel.hear(wait::SOON)? {
                Heard::Word(outcome) => Ok(outcome),
                Heard::Nothing | Heard::Over => bail!("the grandchild does not answer"),
            }
        };
        let (granted, denied) = (daemon.scene().granted(), daemon.scene().denied());
        let view = daemon.show(&id)?;
        assert_eq!((view.phase.as_str(), view.tasks), ("active", 1), "uid {uid}");
        let before = view.totals.context("no totals")?.denied;
        assert_eq!(ask(&read(&granted))?, Outcome::Errno(0), "uid {uid}");
        assert_eq!(ask(&read(&denied))?, Outcome::Errno(EACCES), "uid {uid}");
        let after = daemon.show(&id)?.totals.context("no totals")?.denied;
        assert_eq!(after, before + 1, "uid {uid}: counted as the first run's");
        daemon.revoke(&id)?;
        assert_eq!(ask(&read(&granted))?, Outcome::Errno(EPERM), "uid {uid}");
        assert_eq!(other.errno(&read(&granted))?, 0, "uid {uid}: the other run");
        channel.close();
        let over = || Ok((daemon.show(&id)?.phase == "ended").then_some(()));
        wait::until("the grandchild is gone", wait::SOON, over)?;
    }
    Ok(())
}

/// P3, P10: beside an agent under the same uid the person does what the person may, and nothing of that is the run's: the
/// daemon takes it for no run, its environment names none, and it is neither counted nor recorded.
#[test]
fn a_person_beside_the_agent_leaves_no_trace_of_the_run() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let (granted, denied) = (daemon.scene().granted(), daemon.scene().denied());
    for uid in USERS {
        let mut agent = Attacker::inside(&daemon, uid)?;
        let id = agent.id().to_owned();
        let mut person = Attacker::outside(uid)?;
        let environment = |process: u32| -> Result<bool> {
            let bytes = fs::read(format!("/proc/{process}/environ"))?;
            Ok(String::from_utf8_lossy(&bytes).contains("AGENTID"))
        };
        assert!(environment(agent.tgid())? && !environment(person.tgid())?, "uid {uid}");
        let whoami = "GET /v1/whoami HTTP/1.1\r\nHost: agentid\r\n\r\n";
        let socket = daemon.scene().socket();
        let answer = agent.say(&socket, whoami.to_owned())?;
        assert!(answer.contains(&id), "uid {uid}: {answer}");
        let answer = person.say(&socket, whoami.to_owned())?;
        assert!(answer.contains("\"run\":null") && !answer.contains(&id), "uid {uid}: {answer}");

        assert_eq!(agent.errno(&Attempt::Read(denied.clone()))?, EACCES, "uid {uid}");
        let totals = daemon.show(&id)?.totals.context("no totals")?;
        // The launch is told too, and is no record of the kernel's.
        let told = || Ok((daemon.events(&id)?.len() as u64 > totals.records).then_some(()));
        wait::until("everything is told", wait::SOON, told)?;
        let before = daemon.events(&id)?;
        for path in [&granted, &denied] {
            assert_eq!(person.errno(&Attempt::Read(path.clone()))?, 0, "uid {uid}: the person");
        }
        let view = daemon.show(&id)?;
        assert_eq!((view.tasks, view.totals), (1, Some(totals)), "uid {uid}");
        assert_eq!(daemon.events(&id)?, before, "uid {uid}");
        daemon.revoke(&id)?;
        assert_ne!(daemon.show(&id)?.phase, "active", "uid {uid}");
        for path in [&granted, &denied] {
            assert_eq!(person.errno(&Attempt::Read(path.clone()))?, 0, "uid {uid}: the person");
        }
    }
    Ok(())
}
