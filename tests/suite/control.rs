//! The control socket takes nothing from whom it should not, and no harm from what is said to it.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use agentid_tests::{
    attack::Attempt,
    control::request,
    harness::{
        Attacker, Daemon, Run, Scene,
        run::Terms,
        scene::{USER, USERS},
        taken::socket_of,
        wait,
    },
    step::{Name, Open, Step, Unix},
};
use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A group that nothing else in a guest belongs to.
const OPERATORS: u32 = 4242;

/// The status of what a daemon answers to a request with a body.
pub fn status(
    attacker: &mut Attacker,
    socket: &Path,
    line: &str,
    body: &str,
) -> Result<(u16, String)> {
    let answer = attacker.say(socket, request(line, body))?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("{line}: the answer is {answer:?}"))?, answer))
}

/// Bodies that are too large, no JSON, or not what is expected, and what is no HTTP at all, from a user.
#[test]
fn takes_no_harm_from_garbage() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    let mut user = Attacker::outside(USER)?;
    // Ends when the daemon has waited for the rest as long as it does.
    let mut beside = Attacker::outside(USER)?;
    beside.begin(&Attempt::Say { socket: socket.clone(), bytes: "\r\n\r\n".to_owned() })?;
    let large = "x".repeat(65 * 1024);
    let deep = "[".repeat(60_000);
    let unknown = r#"{"policy":"attacker","agent":"a","owner":"o","task":"t","colour":"red"}"#;
    let no_owner = r#"{"policy":"attacker","agent":"a","task":"t"}"#;
    let cases = [
        ("POST /v1/runs", large.as_str(), 413, "too_large"),
        ("POST /v1/runs/0/revoke", large.as_str(), 413, "too_large"),
        ("POST /v1/runs", "\u{0}\u{1}garbage", 400, "bad_request"),
        ("POST /v1/runs", deep.as_str(), 400, "bad_request"),
        ("POST /v1/runs", "", 400, "bad_request"),
        ("POST /v1/runs", unknown, 400, "colour"),
        ("POST /v1/runs", no_owner, 400, "owner"),
        ("POST /v1/revoke", "{}", 400, "select"),
        ("POST /v1/revoke", r#"{"select":{}}"#, 400, "nothing is selected"),
        ("POST /v1/suspend", r#"{"select":{"owner":"x","colour":"red"}}"#, 400, "colour"),
        ("POST /v1/delegate", r#"{"policy":"attacker","owner":"me"}"#, 400, "owner"),
        ("POST /v1/delegate", r#"{"policy":"attacker"}"#, 403, "belongs to no run"),
        ("GET /v1/runs?all=perhaps", "", 400, "bad_request"),
        ("GET /v1/nothing", "", 404, "no_route"),
    ];
    for (line, body, expected, word) in cases {
        let (status, answer) = status(&mut user, &socket, line, body)?;
        assert_eq!(status, expected, "{line}: {answer}");
        assert!(answer.contains(word), "{line}: {word} is not in {answer}");
    }
    let garbage = ["GET\u{0} / HTTP/9.9\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n"];
    let answers = garbage.map(|bytes| user.say(&socket, bytes.to_owned()));
    for answer in answers.into_iter().chain([beside.answer()]) {
        let answer = answer?;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(daemon.ps()?.is_empty());
    assert_eq!(daemon.status()?.posture, "enforcing");
    Ok(())
}

/// P2, P10: a run gets to the control socket without a rule, and to no other socket, also in the same folder; after its
/// end to none.
#[test]
fn a_run_gets_to_the_control_socket_alone() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    let other = socket.with_file_name("other.sock");
    let _listener = UnixListener::bind(&other)?;
    fs::set_permissions(&other, Permissions::from_mode(0o666))?;
    for uid in USERS {
        let mut run = Attacker::inside(&daemon, uid)?;
        let (whoami, answer) = status(&mut run, &socket, "GET /v1/whoami", "")?;
        assert_eq!(whoami, 200, "uid {uid}: {answer}");
        assert!(answer.contains(r#""about":{"agent":"#), "uid {uid}: {answer}");
        let attempt =
            |socket: &Path| Attempt::Say { socket: socket.to_owned(), bytes: String::new() };
        assert_eq!(run.errno(&attempt(&other))?, libc::EACCES, "uid {uid}");
    }
    Ok(())
}

/// P7, P10: there a run is told what it was denied and what would allow it, and nothing of another run, also as root and of
/// the same user; who is in no run is told nothing.
#[test]
fn a_run_is_told_its_own_denials_and_no_others() -> Result<()> {
    const ASK: &str = "GET /v1/self/denials";
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    for uid in USERS {
        let names =
            ["own", "others"].map(|name| daemon.scene().outside().join(format!("{name}-{uid}")));
        names.iter().try_for_each(|path| daemon.scene().file(path))?;
        let [own, others] = &names;
        let mut run = Attacker::inside(&daemon, uid)?;
        let mut other = Attacker::inside(&daemon, uid)?;
        for (attacker, path) in [(&mut run, own), (&mut other, others)] {
            assert_eq!(attacker.errno(&Attempt::Read(path.clone()))?, libc::EACCES, "uid {uid}");
        }
        let (code, answer) = status(&mut run, &socket, ASK, "")?;
        assert_eq!(code, 200, "uid {uid}: {answer}");
        let grant = format!("paths = [\\\"{}\\\"]\\nallow = [\\\"read\\\"]", own.display());
        assert!(answer.contains(&grant), "uid {uid}: {answer}");
        assert!(!answer.contains(&others.display().to_string()), "uid {uid}: {answer}");
        let (code, answer) = status(&mut Attacker::outside(uid)?, &socket, ASK, "")?;
        assert_eq!(code, 403, "uid {uid}: {answer}");
    }
    Ok(())
}

/// A run of a policy, below another one or below none.
fn launch(daemon: &Daemon, uid: u32, policy: &str, parent: Option<&str>) -> Result<Run> {
    Run::launch(daemon, &Terms { uid, policy, parent, ..Terms::default() })
}

/// P4, P10: a run ends itself and what is below it, and says why; the run above it and those beside it go on. Who is in no
/// run ends nothing so, whatever he says that he is.
#[test]
fn a_run_ends_itself_and_what_is_below_it() -> Result<()> {
    let daemon = Daemon::shared()?;
    let socket = daemon.scene().socket();
    let end = Step::EndOneself { socket: socket.clone(), reason: "done".to_owned() };
    let open = Step::Open { path: daemon.scene().granted(), how: Open::Read };
    for uid in USERS {
        for policy in ["killed", "fixture"] {
            let mut above = launch(&daemon, uid, "fixture", None)?;
            let mut run = launch(&daemon, uid, policy, Some(above.id()))?;
            let mut beside = launch(&daemon, uid, policy, Some(above.id()))?;
            let below = launch(&daemon, uid, "killed", Some(run.id()))?;
            run.say(&end)?;
            let over = |id: &str| Ok(daemon.show(id)?.end);
            let ended = wait::until("it is over", wait::SOON, || over(run.id()))?;
            assert_eq!(ended.ending, "revoked", "uid {uid}: {policy}");
            assert_eq!(ended.by_uid, Some(uid), "uid {uid}: {policy}");
            assert_eq!(ended.reason.as_deref(), Some("by itself: done"), "uid {uid}: {policy}");
            let ended = over(below.id())?.context("what is below it goes on")?;
            assert_eq!(ended.ending, "parent_ended", "uid {uid}: {policy}");
            if policy == "killed" {
                assert!(!run.await_end()?.success());
            } else {
                run.answer(wait::SOON)?;
                assert_eq!(run.errno(&open)?, libc::EPERM, "uid {uid}");
                // Once is enough.
                assert_eq!(run.errno(&end)?, libc::EPERM, "uid {uid}");
            }
            for run in [&mut above, &mut beside] {
                assert_eq!(run.view(&daemon)?.phase, "active", "uid {uid}: {policy}");
                assert_eq!(run.errno(&open)?, 0, "uid {uid}: {policy}");
            }
        }
        let body = r#"{"reason":"done"}"#;
        let (code, answer) =
            status(&mut Attacker::outside(uid)?, &socket, "POST /v1/self/end", body)?;
        assert_eq!(code, 403, "uid {uid}: {answer}");
        assert!(answer.contains("belongs to no run"), "uid {uid}: {answer}");
    }
    Ok(())
}

/// P10: the variable that tells a run its ID is for people and programs. Who sets it to that of another run is who he is.
#[test]
fn a_forged_invocation_is_nobodys() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    for uid in USERS {
        let run = Attacker::inside(&daemon, uid)?;
        let mut forger = Attacker::outside_told(uid, run.id())?;
        assert_eq!(forger.id(), run.id());
        let (_, answer) = status(&mut forger, &socket, "GET /v1/whoami", "")?;
        assert!(!answer.contains(run.id()), "uid {uid}: {answer}");
        for (line, body) in [
            ("GET /v1/self/denials", ""),
            ("POST /v1/self/end", "{}"),
            ("POST /v1/delegate", r#"{"policy":"attacker"}"#),
        ] {
            let (code, answer) = status(&mut forger, &socket, line, body)?;
            assert_eq!(code, 403, "uid {uid}: {line}: {answer}");
        }
        assert_eq!(daemon.show(run.id())?.phase, "active");
    }
    Ok(())
}

/// P10: a run of root's stays a run, whoever it makes itself: also as an operator, in namespaces of its own.
#[test]
fn a_run_that_becomes_an_operator_is_a_run() -> Result<()> {
    let daemon = Daemon::start_in(of_operators()?)?;
    let socket = daemon.scene().socket();
    let asks = [("GET /v1/status", ""), ("POST /v1/revoke", r#"{"select":{"all":true}}"#)];
    let mut run = Attacker::inside(&daemon, 0)?;
    for (uid, group) in [(0, 0), (USER, OPERATORS)] {
        for (line, body) in asks {
            let bytes = request(line, body);
            let attempt = Attempt::SayElsewhere { uid, group, socket: socket.clone(), bytes };
            run.begin(&attempt)?;
            let answer = run.answer()?;
            assert!(answer.starts_with("HTTP/1.1 403 "), "uid {uid}: {line}: {answer}");
            assert!(answer.contains("belongs to a run"), "uid {uid}: {line}: {answer}");
        }
        assert_eq!(daemon.show(run.id())?.phase, "active");
        // The same from outside is an operator's.
        let mut outside = Attacker::outside(0)?;
        let bytes = request(asks[0].0, "");
        outside.begin(&Attempt::SayElsewhere { uid, group, socket: socket.clone(), bytes })?;
        let answer = outside.answer()?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "uid {uid}: {answer}");
    }
    Ok(())
}

/// P10: a member of the operators' group sees and ends the runs of others, and denies owners; the same user without the
/// group does not. Whoever has launched a run may hold it, let it go on and give it time.
#[test]
fn operators_may_do_everything_and_users_what_is_their_own() -> Result<()> {
    let daemon = Daemon::start_in(of_operators()?)?;
    let socket = daemon.scene().socket();
    let (of_root, of_user) = (Attacker::inside(&daemon, 0)?, Attacker::inside(&daemon, USER)?);
    let ask = |group: u32, line: &str, body: String| {
        let mut outside = Attacker::outside(0)?;
        let (socket, bytes) = (socket.clone(), request(line, &body));
        outside.begin(&Attempt::SayElsewhere { uid: USER, group, socket, bytes })?;
        outside.answer()
    };
    let select =
        |run: &Attacker, rest: &str| format!(r#"{{"select":{{"id":"{}"}}{rest}}}"#, run.id());
    for (group, expected) in [(USER, "404"), (OPERATORS, "200")] {
        for (line, rest) in [
            ("POST /v1/suspend", ""),
            ("POST /v1/resume", ""),
            ("POST /v1/extend", r#","by_ms":1000"#),
        ] {
            let own = ask(group, line, select(&of_user, rest))?;
            assert!(own.starts_with("HTTP/1.1 200 "), "group {group}: {line}: {own}");
            let others = ask(group, line, select(&of_root, rest))?;
            let head = format!("HTTP/1.1 {expected} ");
            assert!(others.starts_with(&head), "group {group}: {line}: {others}");
        }
        let expected = if group == OPERATORS { "HTTP/1.1 200 " } else { "HTTP/1.1 403 " };
        for line in ["POST /v1/owners/deny", "POST /v1/owners/allow"] {
            let answer = ask(group, line, r#"{"owner":"nobody@example.org"}"#.to_owned())?;
            assert!(answer.starts_with(expected), "group {group}: {line}: {answer}");
        }
    }
    let answer = ask(OPERATORS, &format!("POST /v1/runs/{}/revoke", of_root.id()), "{}".into())?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(daemon.show(of_user.id())?.phase, "active");
    Ok(())
}

/// A scene whose operators are the members of a group.
fn of_operators() -> Result<Scene> {
    let longer = Attacker::POLICY.replace("ttl = ", "max_ttl = \"1h\"\n        ttl = ");
    let scene = Scene::with(&[("attacker", &longer)])?;
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    let line = group.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number == OPERATORS.to_string()).then(|| name.to_owned())
    });
    let name = match line {
        Some(name) => name,
        None => {
            fs::write("/etc/group", format!("{group}operators:x:{OPERATORS}:\n"))?;
            "operators".to_owned()
        }
    };
    let settings = fs::read_to_string(scene.settings())?;
    fs::write(scene.settings(), format!("operators_group = \"{name}\"\n{settings}"))?;
    Ok(scene)
}

/// P10: who has connected as a run is answered as one, or not at all, also when its process is gone by the time that the
/// daemon looks, and a process outside of any run has its number.
#[test]
fn a_number_that_was_used_again_makes_nobody_of_a_run() -> Result<()> {
    let daemon = Daemon::shared()?;
    let control = Step::Unix(Unix::Call(Name::Path(daemon.scene().socket())));
    let process = Pid::from_raw(daemon.tgid().context("the daemon is not running")?.cast_signed());
    for uid in USERS {
        let other = Run::of(&daemon, uid)?;
        let mut run = Run::of(&daemon, uid)?;
        kill(process, Signal::SIGSTOP)?;
        let connection = (|| {
            assert_eq!(run.errno(&control)?, 0, "uid {uid}");
            let connection = socket_of(&run)?;
            let number = run.tgid();
            drop(run);
            Ok::<_, anyhow::Error>((connection, outside_as(&daemon, uid, number)?))
        })();
        // Whatever came of it, the daemon goes on.
        kill(process, Signal::SIGCONT)?;
        let (connection, outside) = connection?;
        let mut connection = UnixStream::from(connection);
        connection.set_read_timeout(Some(wait::SOON))?;
        let request = format!("POST /v1/runs/{}/revoke HTTP/1.1\r\nHost: agentid\r\n", other.id());
        let mut answer = String::new();
        // From 6.5 on the socket says that the process is gone, and the daemon hangs up.
        let said = connection.write_all((request + "Content-Length: 2\r\n\r\n{}").as_bytes());
        let heard = said.and_then(|()| connection.read_to_string(&mut answer));
        let is_refused = answer.starts_with("HTTP/1.1 403 ");
        assert!(is_refused || answer.is_empty(), "uid {uid}: {heard:?} {answer}");
        assert_eq!(other.view(&daemon)?.phase, "active", "uid {uid}");
        drop(outside);
    }
    Ok(())
}

/// A probe in no run that has this number.
fn outside_as(daemon: &Daemon, uid: u32, number: u32) -> Result<Run> {
    wait::until("a process has the number", wait::SOON, || {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string())?;
        Ok(Some(Run::outside(daemon, uid)?).filter(|run| run.tgid() == number))
    })
}

/// P10: a user sees and ends its own runs alone; root sees all.
#[test]
fn users_do_not_see_the_runs_of_others() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    let (of_root, of_user) = (Attacker::inside(&daemon, 0)?, Attacker::inside(&daemon, USER)?);
    let (hidden, own) = (of_root.id(), of_user.id());
    let mut user = Attacker::outside(USER)?;

    let (_, list) = status(&mut user, &socket, "GET /v1/runs?all=true", "")?;
    assert!(list.contains(own) && !list.contains(hidden), "{list}");
    for (line, body) in [
        (format!("GET /v1/runs/{hidden}"), ""),
        (format!("POST /v1/runs/{hidden}/revoke"), "{}"),
        (format!("POST /v1/runs/{hidden}/why"), r#"{"open":{"path":"/","want":["read"]}}"#),
    ] {
        let (status, answer) = status(&mut user, &socket, &line, body)?;
        assert!(status == 403 || status == 404, "{line}: {answer}");
        assert!(!answer.contains("attacker"), "{line}: {answer}");
    }
    assert_eq!(daemon.show(hidden)?.phase, "active");

    let all: Vec<_> = daemon.ps()?.into_iter().map(|run| run.id).collect();
    assert!(all.iter().any(|id| id == hidden) && all.iter().any(|id| id == own), "{all:?}");
    let (revoked, answer) =
        status(&mut user, &socket, &format!("POST /v1/runs/{own}/revoke"), "{}")?;
    assert_eq!(revoked, 200, "{answer}");
    Ok(())
}
