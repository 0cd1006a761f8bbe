//! What `agentid doctor` makes of what it sees.

use std::{io, path::PathBuf};

use crate::{
    cli::{
        doctor::{
            self, Check, Report, State,
            daemon::{self, Folder, Heard, heard},
            host, service,
        },
        failure::Failure,
    },
    control::{
        api::{HookView, MapView, PolicyView, StatusReply, WhoAmI},
        client::ClientError,
    },
    kernel::{Found, PreflightError, Sight},
    settings,
};

fn status() -> StatusReply {
    let hook = |name: &str, needed, attached| HookView {
        name: name.to_owned(),
        needed,
        attached,
        why_not: (!attached).then(|| "its link is gone".to_owned()),
    };
    StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: 6,
        posture: "enforcing".to_owned(),
        why: None,
        started_ms: 0,
        active: 2,
        suspended: 0,
        stopping: 0,
        slots: 16_383,
        hooks: vec![hook("file_open", true, true), hook("sysctl", false, false)],
        maps: vec![MapView { name: "PEERS".to_owned(), entries: 10, capacity: 100 }],
        policies: vec![PolicyView {
            name: "coding-agent".to_owned(),
            digest: "00ff".to_owned(),
            description: None,
            params: Vec::new(),
        }],
        policy_mistakes: Vec::new(),
        denied_owners: Vec::new(),
        unsaved: 0,
    }
}

fn read(digest: &str) -> Folder {
    Folder::Read([("coding-agent".to_owned(), digest.to_owned())].into())
}

fn answer(operator: bool, status: StatusReply) -> Heard {
    let who = Box::new(WhoAmI { uid: 0, operator, run: None, about: None });
    Heard::Answer { socket: "/run/x".to_owned(), who, status: Box::new(status) }
}

fn states(checks: &[Check]) -> Vec<(&'static str, State)> {
    checks.iter().map(|check| (check.name, check.state)).collect()
}

/// The check of that name, which says what to do unless it is ok.
fn of<'c>(checks: &'c [Check], name: &str) -> &'c Check {
    let check = checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(check.remedy.is_none(), check.state == State::Ok, "{check:?}");
    check
}

fn with(change: impl FnOnce(&mut StatusReply)) -> Vec<Check> {
    let mut status = status();
    change(&mut status);
    heard(&answer(true, status), &read("00ff"), 1_000)
}

#[test]
fn a_daemon_that_is_well_is_ok() {
    let names = ["daemon", "posture", "programs", "tables", "policies"];
    assert_eq!(states(&with(|_| ())), names.map(|name| (name, State::Ok)));
}

#[test]
fn what_the_daemon_lacks_is_told_with_the_remedy() {
    let checks =
        with(|status| status.hooks[0] = HookView { attached: false, ..status.hooks[0].clone() });
    assert_eq!(of(&checks, "programs").seen, "0 of 1 attached; not file_open (unknown)");
    assert_eq!(of(&checks, "programs").state, State::Failed);
    for (posture, state) in [("degraded", State::Warning), ("off", State::Failed)] {
        let checks = with(|status| {
            status.posture = posture.to_owned();
            status.why = Some("an open was not denied".to_owned());
        });
        let check = of(&checks, "posture");
        let seen = format!("{posture}: an open was not denied");
        assert_eq!((&check.seen, check.state), (&seen, state));
    }
    for (entries, state) in [(79, State::Ok), (80, State::Warning), (100, State::Failed)] {
        let checks = with(|status| status.maps[0].entries = entries);
        assert_eq!(of(&checks, "tables").state, state, "{entries}");
    }
    let checks = with(|status| status.active = 16_000);
    assert_eq!(of(&checks, "tables").seen, "the fullest is slots for runs: 16000 of 16383");
    let checks = with(|status| status.version = "9.9.9\u{1b}".to_owned());
    assert!(
        of(&checks, "daemon").seen.starts_with("version 9.9.9\\u{1b} answers at /run/x, up since")
    );
    let checks = with(|status| status.started_ms = 100_000);
    assert!(of(&checks, "daemon").seen.ends_with("the clock was set back"));
}

#[test]
fn policies_that_are_wrong_or_not_read_yet_are_told() {
    let checks = with(|status| status.policy_mistakes = vec!["a.toml:1:1: no".to_owned()]);
    assert_eq!(
        (of(&checks, "policies").state, &*of(&checks, "policies").seen),
        (State::Failed, "a.toml:1:1: no")
    );
    let ask =
        |operator, folder: &Folder| heard(&answer(operator, status()), folder, 0).pop().unwrap();
    let newer = ask(true, &read("beef"));
    assert_eq!(
        (newer.state, newer.remedy.unwrap().as_str()),
        (State::Warning, "systemctl reload agentid")
    );
    let unseen = Folder::Unseen("/etc/x: Permission denied".to_owned());
    assert_eq!(ask(false, &unseen).state, State::Unseen);
    assert_eq!(ask(true, &unseen).state, State::Ok);
    let wrong = Folder::Wrong(vec!["a.toml:1:1: no".to_owned(), "b.toml:2:2: no".to_owned()]);
    let checks = heard(&answer(false, status()), &wrong, 0);
    assert_eq!(checks.iter().filter(|check| check.state == State::Failed).count(), 2);
    let checks = with(|status| status.policies.clear());
    assert_eq!(of(&checks, "policies").remedy.as_deref(), Some("systemctl reload agentid"));
}

#[test]
fn a_folder_of_policies_is_read_as_the_daemon_would() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = 'p'\nttl = '1m'\n";
    std::fs::write(folder.path().join("p.toml"), text).unwrap();
    let Folder::Read(read) = daemon::folder(folder.path()) else { panic!() };
    assert_eq!(read, [("p".to_owned(), crate::supervisor::store::digest(text))].into());
    std::fs::write(folder.path().join("q.toml"), "name = 'q'\n").unwrap();
    let Folder::Wrong(mistakes) = daemon::folder(folder.path()) else { panic!() };
    assert!(mistakes[0].contains("q.toml:1:1: policy has no `ttl`"), "{mistakes:?}");
    let none = daemon::folder(&folder.path().join("none"));
    assert!(matches!(&none, Folder::Read(read) if read.is_empty()), "{none:?}");
    assert!(matches!(daemon::folder(&folder.path().join("p.toml")), Folder::Unseen(_)));
}

#[test]
fn a_daemon_that_does_not_answer_fails_and_a_run_is_told_nothing() {
    let source = io::ErrorKind::ConnectionRefused.into();
    let away = Failure::from(ClientError::Away { path: "/run/x".into(), source });
    let checks = heard(&Heard::Nothing(away), &read("00ff"), 0);
    assert_eq!(states(&checks), [("daemon", State::Failed), ("policies", State::Ok)]);
    assert_eq!(of(&checks, "daemon").remedy.as_deref(), Some("systemctl status agentid says why"));
    let checks = heard(&Heard::FromARun, &read("00ff"), 0);
    assert_eq!(states(&checks), [("daemon", State::Unseen)]);
}

#[test]
fn the_unit_is_read_from_what_systemctl_says() {
    let unit = |text: &str| service::unit(&Ok(text.to_owned()));
    let well = unit("LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\n");
    assert_eq!(well, Check::ok("unit", "agentid.service is active (running)"));
    let all = [
        ("LoadState=loaded\nActiveState=failed\nSubState=failed\nNRestarts=0\n", State::Failed),
        ("LoadState=not-found\nActiveState=inactive\nSubState=dead\n", State::Failed),
        ("LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=3\n", State::Warning),
        ("", State::Failed),
    ];
    for (text, state) in all {
        assert_eq!(of(&[unit(text)], "unit").state, state, "{text}");
    }
    let none = service::unit(&Err("systemctl cannot be asked: not found".to_owned()));
    assert_eq!(of(&[none], "unit").state, State::Unseen);
}

#[test]
fn a_limit_for_memory_fails_on_the_service_and_warns_above_it() {
    let own = PathBuf::from("/system.slice/agentid.service");
    let limit = |at: &str| [(PathBuf::from(at), "memory.max", "1048576".to_owned())];
    assert_eq!(service::limits(&own, &[]).state, State::Ok);
    let check = service::limits(&own, &limit("/system.slice/agentid.service"));
    let seen =
        "/system.slice/agentid.service has memory.max = 1048576: when it is full no run can fork";
    assert_eq!(
        (of(std::slice::from_ref(&check), "memory").state, check.seen.as_str()),
        (State::Failed, seen)
    );
    let above = service::limits(&own, &limit("/system.slice"));
    assert_eq!(of(&[above], "memory").state, State::Warning);
    let unseen = service::memory("/nonexistent/socket".as_ref());
    assert_eq!(of(&[unseen], "memory").state, State::Unseen);
}

#[test]
fn clock_space_and_settings_are_judged() {
    let now = 1_800_000_000_000;
    assert_eq!(host::clock(Ok(true), now).seen, "2027-01-15T08:00:00Z, and kept");
    assert_eq!(of(&[host::clock(Ok(false), now)], "clock").state, State::Warning);
    assert_eq!(of(&[host::clock(Ok(true), 0)], "clock").state, State::Failed);
    let denied = io::ErrorKind::PermissionDenied;
    assert_eq!(of(&[host::clock(Err(denied.into()), now)], "clock").state, State::Unseen);
    let space = |blocks, inodes| {
        let mut found = rustix::fs::statvfs("/").unwrap();
        (found.f_bavail, found.f_frsize) = (blocks, 1 << 20);
        (found.f_files, found.f_favail) = (100, inodes);
        host::space("/var/lib/x".as_ref(), Ok(found))
    };
    assert_eq!(space(64, 1), Check::ok("space", "64 MiB free for /var/lib/x"));
    assert_eq!(of(&[space(63, 1)], "space").state, State::Warning);
    assert_eq!(of(&[space(0, 1)], "space").state, State::Failed);
    assert_eq!(of(&[space(64, 0)], "space").state, State::Failed);
    let none = host::space("/var/lib/x".as_ref(), Err(rustix::io::Errno::NOENT));
    assert_eq!(of(&[none], "space").state, State::Warning);
    let failed = |source: io::Error| {
        host::configuration(settings::ReadError::Io { file: "a.toml".to_owned(), source })
    };
    assert_eq!(of(&[failed(denied.into())], "settings").state, State::Unseen);
    assert_eq!(of(&[failed(io::ErrorKind::NotFound.into())], "settings").state, State::Warning);
    let mistake = settings::parse("a.toml", "metrics = 3\n").unwrap_err();
    assert_eq!(of(&[host::configuration(mistake.into())], "settings").state, State::Failed);
}

#[test]
fn what_cannot_be_limited_is_told() {
    let all = vec!["memory", "pids", "cpu"];
    let of_all = of(&[host::limits(Ok(all))], "limits").clone();
    assert_eq!((of_all.state, &*of_all.seen), (State::Ok, "memory, tasks, cpu can be limited"));
    let some = of(&[host::limits(Ok(vec!["cpu"]))], "limits").clone();
    let seen = "cgroup v2 does not limit memory, tasks here";
    assert_eq!((some.state, &*some.seen), (State::Warning, seen));
    let none = host::limits(Err(io::ErrorKind::NotFound.into()));
    assert_eq!(of(&[none], "limits").state, State::Warning);
}

/// What the daemon would meet is asked by its own code; what only root may read is unseen.
#[test]
fn what_a_start_would_meet_keeps_its_words() {
    let sight = |name, found| Sight { name, seen: "seen".to_owned(), found };
    let unreadable = |kind: io::ErrorKind| {
        let (path, remedy, source) = ("/sys/x", "mount sysfs", kind.into());
        Found::Fault(PreflightError::Unreadable { path, remedy, source })
    };
    let checks = host::host(vec![
        sight("ftrace", Found::Fine),
        sight("kernel", Found::Doubt("use another".to_owned())),
        sight("security", Found::Fault(PreflightError::NoBpfLsm { active: "yama".to_owned() })),
        sight("btf", unreadable(io::ErrorKind::NotFound)),
        sight("processor", unreadable(io::ErrorKind::PermissionDenied)),
    ]);
    let report = Report::from(checks);
    assert!(!report.healthy);
    let expected = "\
ok       ftrace     seen
warning  kernel     seen
                    help: use another
failed   security   `bpf` is not among the active security modules (yama)
                    help: add `lsm=yama,bpf` to the kernel's command line (GRUB:
                          GRUB_CMDLINE_LINUX in /etc/default/grub, then
                          update-grub) and boot again
failed   btf        /sys/x cannot be read
                    help: mount sysfs
unseen   processor  /sys/x cannot be read
                    help: mount sysfs
5 checks: 1 ok, 2 failed, 1 with a warning, 1 unseen
";
    assert_eq!(doctor::text(&report, false, Some(80)), expected);
    assert!(!doctor::text(&report, true, None).contains("ok "));
    let json = serde_json::to_value(&report).unwrap();
    let first =
        serde_json::json!({ "name": "ftrace", "state": "ok", "seen": "seen", "remedy": null });
    assert_eq!((&json["healthy"], &json["checks"][0]), (&false.into(), &first));
}

/// On any host, as anyone: something is said of each, and nothing is changed.
#[test]
fn everything_is_looked_at_wherever_it_is_asked() {
    let none = PathBuf::from("/nonexistent/agentid");
    let client = crate::control::client::Client::new(&none).unwrap();
    let checks = doctor::look(&none, &none, &client);
    for name in ["btf", "bpffs", "clock", "settings", "space", "unit", "memory", "limits", "daemon"]
    {
        assert!(!of(&checks, name).seen.is_empty(), "{name}");
    }
}
