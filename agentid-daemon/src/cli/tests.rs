mod doctor;
mod policy;
mod table;

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt, time::Duration};

use clap::{CommandFactory, Parser};
use uuid::Uuid;

use super::{
    args::{Arguments, Verb},
    exit,
    failure::Failure,
    render, select,
    verb::{self, run::command::Program},
};
use crate::{
    control::{
        api::{
            ChangeReply, ChangedRun, Code, ErrorReply, IssuerView, LaunchReply, OwnRun, OwnerReply,
            ProcessView, RevokeAllReply, RevokeReply, RunView, Selector, TotalsView, TreeRun,
            WhoAmI, WhyReply,
        },
        client::ClientError,
    },
    event::event::{Access, Event, Execution, Object, Process, RunName, What},
    supervisor::command::Kind,
};

fn parse(line: &str) -> Result<Verb, clap::Error> {
    Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.verb)
}

#[test]
fn the_arguments_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn run_takes_everything_after_the_dashes_as_the_command() {
    let line = "agentid run --policy p --agent a --owner o --task t --param w=/work --label x=y=z \
                --ttl 90s -- git commit --amend -m x";
    let Verb::Run(run) = parse(line).unwrap() else { panic!("not run") };
    assert_eq!(run.command, ["git", "commit", "--amend", "-m", "x"].map(OsString::from));
    assert_eq!(run.params, [("w".to_owned(), "/work".to_owned())]);
    assert_eq!(run.labels, [("x".to_owned(), "y=z".to_owned())]);
    assert_eq!(run.ttl, Some(Duration::from_secs(90)));
}

#[test]
fn run_needs_an_owner_and_a_command() {
    assert!(parse("agentid run --policy p --agent a --task t -- true").is_err());
    assert!(parse("agentid run --policy p --agent a --owner o --task t").is_err());
    let line = "agentid run --policy p --agent a --owner o --task t --param w -- true";
    assert!(parse(line).unwrap_err().to_string().contains("expected NAME=VALUE"));
}

#[test]
fn why_asks_for_one_thing() {
    assert!(parse("agentid why abcd").is_err());
    assert!(parse("agentid why abcd --open /etc/passwd --connect 10.0.0.1:1").is_err());
    assert!(parse("agentid why abcd --open /etc/passwd --write --exec").is_err());
    assert!(parse("agentid why abcd --connect example.org:443").is_ok());
    for whom in ["example.org", "example.org:https", "example.org/24:1", "1.2.3:4"] {
        assert!(parse(&format!("agentid why abcd --connect {whom}")).is_err(), "{whom}");
    }
    assert!(parse("agentid why abcd --connect 10.0.0.1:443").is_ok());
    assert!(parse("agentid why abcd --connect /run/x.sock").is_ok());
    assert!(parse("agentid why abcd --connect run/x.sock").is_err());
    assert!(parse("agentid why abcd --connect 10.0.0.1:53 --proto udp").is_ok());
    assert!(parse("agentid why abcd --connect 10.0.0.1:53 --proto sctp").is_err());
    assert!(parse("agentid why abcd --send 10.0.0.1:53 --listen 0.0.0.0:53").is_err());
    assert!(parse("agentid why abcd --listen [::]:8000").is_ok());
    assert!(parse("agentid why abcd --accept 127.0.0.1:8000").is_ok());
    assert!(parse("agentid why abcd --open /etc/passwd --proto udp").is_err());
    assert!(parse("agentid why abcd --open /etc/passwd --write").is_ok());
    for object in ["--create /a", "--delete /a", "--move /a /b"] {
        assert!(parse(&format!("agentid why abcd {object}")).is_ok(), "{object}");
        assert!(parse(&format!("agentid why abcd {object} --open /c")).is_err(), "{object}");
        assert!(parse(&format!("agentid why abcd {object} --proto udp")).is_err(), "{object}");
    }
    assert!(parse("agentid why abcd --move /a").is_err());
}

#[test]
fn events_are_asked_for_as_typed() {
    let route = |line| {
        let Verb::Events(events) = parse(line).unwrap() else { panic!("not events") };
        verb::events::route(&events).unwrap()
    };
    assert_eq!(route("agentid events"), "/v1/events?follow=false");
    let expected = "/v1/events?follow=true&id=ab%2Fcd&last=5";
    assert_eq!(route("agentid events -f --id ab/cd --last 5"), expected);
    assert_eq!(route("agentid events --after 77"), "/v1/events?follow=false&after=77");
    let expected = "/v1/events?follow=true&select=%7B%22owner%22%3A%22o%22%2C%22labels%22%3A%7B%22x%22%3A%22%C3%A9%22%7D%7D";
    assert_eq!(route("agentid events -f --owner o --label x=é"), expected);
    assert!(parse("agentid events --id abcd --owner o").is_err());
    assert!(parse("agentid events --after 77 --last 5").is_err());
    assert!(parse("agentid events --after yesterday").is_err());
}

#[test]
fn exit_statuses_are_distinct_and_documented() {
    let all = [
        exit::SUCCESS,
        exit::FAILURE,
        exit::USAGE,
        exit::DENIED,
        exit::INVALID,
        exit::PARTIAL,
        exit::DIFFERENT,
        exit::AWAY,
        exit::NOT_LAUNCHED,
        exit::NOT_EXECUTABLE,
        exit::NOT_FOUND,
    ];
    for (index, code) in all.iter().enumerate() {
        assert!(!all[..index].contains(code));
        assert!(exit::HELP.contains(&format!("\n  {code} ")), "{code}");
    }
}

#[test]
fn an_absent_daemon_has_its_own_status_also_for_run() {
    let away = || {
        let source = std::io::ErrorKind::NotFound.into();
        Failure::from(ClientError::Away { path: "/run/x".into(), source })
    };
    assert_eq!(format!("{:?}", away().report()), format!("{:?}", exit_code(exit::AWAY)));
    let run = away().or_away(exit::NOT_LAUNCHED).report();
    assert_eq!(format!("{run:?}"), format!("{:?}", exit_code(exit::AWAY)));
    let refused = ClientError::Refused(ErrorReply::new(Code::Full, "full", "wait"));
    let run = Failure::from(refused).or_away(exit::NOT_LAUNCHED).report();
    assert_eq!(format!("{run:?}"), format!("{:?}", exit_code(exit::NOT_LAUNCHED)));
}

fn exit_code(code: u8) -> std::process::ExitCode {
    code.into()
}

#[test]
fn a_command_is_found_as_a_shell_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, mode| {
        let path = folder.path().join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let tool = file("tool", 0o755);
    file("data", 0o644);
    let search = std::env::join_paths(["/nonexistent".as_ref(), folder.path()]).unwrap();
    let find = |line: &str| {
        let command: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Program::find_in(&search, &command)
    };
    let found = find("tool -x").unwrap();
    assert_eq!((found.path.as_path(), found.name.to_str()), (tool.as_path(), Some("tool")));
    assert_eq!(found.arguments, ["-x"]);
    assert_eq!(find(tool.to_str().unwrap()).unwrap().path, tool);
    assert_eq!(find("data").unwrap_err().text(), "data is not executable");
    assert_eq!(find("nothing").unwrap_err().text(), "nothing is not found");
    assert_eq!(find("./tool").unwrap_err().text(), "./tool is not found");
}

#[test]
fn a_command_that_the_policy_does_not_grant_is_explained() {
    let program = Program { path: "/opt/tool".into(), name: "tool".into(), arguments: Vec::new() };
    let reply = LaunchReply { id: Uuid::nil(), policy: "p@0".to_owned(), deadline_ms: 0 };
    let denied = std::io::Error::from_raw_os_error(libc::EACCES);
    let failure = program.failed(&denied, &reply);
    let expected =
        "/opt/tool cannot be executed: policy p@0 does not grant exec on it, or on its interpreter";
    assert_eq!(failure.text(), expected);
    assert_eq!(format!("{:?}", failure.report()), format!("{:?}", exit_code(exit::NOT_EXECUTABLE)));
}

#[test]
fn nothing_that_is_shown_steers_the_terminal() {
    assert_eq!(render::clean("a\u{1b}[2Jb\n\u{202e}c é"), "a\\u{1b}[2Jb\\u{a}\\u{202e}c é");
}

#[test]
fn owners_that_are_not_the_same_do_not_look_alike() {
    let unseen = "\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{200b}\u{200d}\u{200e}\u{2028}\u{2029}\u{2060}\u{2069}\u{3164}\u{fe0f}\u{feff}\u{e0061}";
    for character in unseen.chars() {
        let owner = format!("ali{character}ce");
        assert_eq!(render::clean(&owner), format!("ali{}ce", character.escape_unicode()));
    }
    for text in ["Müller 王小明 आलोक مريم 👍", "e\u{301}"] {
        assert_eq!(render::clean(text), text);
    }
}

fn view() -> RunView {
    RunView {
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_1234_5678_9abc),
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        purpose: None,
        on_behalf_of: None,
        labels: [("team".to_owned(), "core".to_owned())].into(),
        policy: "coding-agent@00ff".to_owned(),
        params: [("workspace".to_owned(), "/work".into())].into(),
        mode: "enforce".to_owned(),
        on_end: "kill".to_owned(),
        parent: None,
        above: Vec::new(),
        below: None,
        command: vec!["python3".to_owned(), "agent.py".to_owned()],
        uid: 1000,
        tgid: 4711,
        issued_by: Some(IssuerView {
            uid: 1000,
            tgid: 4711,
            executable: Some("/usr/bin/agentid".to_owned()),
        }),
        phase: "active".to_owned(),
        frozen: false,
        limits: None,
        usage: None,
        launched_ms: 0,
        deadline_ms: 1_800_000,
        tasks: 3,
        names: Vec::new(),
        sockets: Vec::new(),
        more_sockets: 0,
        sockets_unknown: None,
        changes: Vec::new(),
        totals: Some(TotalsView {
            started: 5,
            allowed: 70,
            denied: 2,
            faults: 0,
            records: 9,
            lost: 0,
        }),
        end: None,
    }
}

#[test]
fn ps_is_a_table() {
    let expected = "\
ID            AGENT     OWNER  TASK  POLICY        STATE   TASKS  DENIED  AGE    LEFT
123456789abc  reviewer  alice  T-1   coding-agent  active  3      2       1m30s  28m30s
";
    assert_eq!(verb::ps::text(&[view()], 90_000, None), expected);
}

#[test]
fn show_leaves_out_what_is_not_there() {
    let text = verb::show::text(&view());
    assert!(text.contains("labels      team=core\n"), "{text}");
    assert!(text.contains("deadline    1970-01-01T00:30:00Z\n"), "{text}");
    assert!(!text.contains("purpose") && !text.contains("stands on"), "{text}");
}

#[test]
fn revoke_says_how_fast_it_was() {
    let reply = RevokeReply {
        id: Uuid::nil(),
        also: Vec::new(),
        tasks: 4,
        remaining: 0,
        denied_after_ms: 0.21,
        connections: 1,
        hung_up_after_ms: Some(0.92),
        frozen_after_ms: None,
        stopped_after_ms: Some(3.86),
    };
    let expected = "\
revoked 00000000-0000-0000-0000-000000000000
  everything denied after 0.2 ms, 4 tasks alive then
  1 connection ended after 0.9 ms
  last task stopped after 3.9 ms
";
    assert_eq!(verb::revoke::text(&reply), expected);
    let frozen = RevokeReply {
        remaining: 4,
        frozen_after_ms: Some(1.26),
        stopped_after_ms: None,
        ..reply.clone()
    };
    let text = verb::revoke::text(&frozen);
    assert!(text.ends_with("\n  4 tasks are left, standing still after 1.3 ms\n"), "{text}");
    let text = verb::revoke::text(&RevokeReply { frozen_after_ms: None, ..frozen });
    assert!(text.ends_with("\n  4 tasks are left, denied everything\n"), "{text}");
}

#[test]
fn a_verb_takes_one_id_or_filters_and_never_nothing() {
    for verb in ["revoke", "suspend", "resume", "extend --by 1h"] {
        assert!(parse(&format!("agentid {verb}")).is_err(), "{verb} without anything");
        assert!(parse(&format!("agentid {verb} abcd")).is_ok());
        assert!(parse(&format!("agentid {verb} abcd --owner o")).is_err(), "{verb} both");
        assert!(parse(&format!("agentid {verb} abcd --all")).is_err(), "{verb} both");
        let line = "--agent a --owner o --task t --policy p --label x=1 --label y=2 --older-than \
                    10m --children-of abcd --yes";
        assert!(parse(&format!("agentid {verb} {line}")).is_ok());
        assert!(parse(&format!("agentid {verb} --all")).is_ok());
    }
    assert!(parse("agentid show").is_err() && parse("agentid show abcd --ended").is_err());
    assert!(parse("agentid show --owner o --ended").is_ok());
    for verb in ["show", "tree"] {
        assert!(parse(&format!("agentid {verb} abcd")).is_ok());
        assert!(parse(&format!("agentid {verb} --label x=1 --children-of abcd")).is_ok());
        assert!(parse(&format!("agentid {verb} abcd --all")).is_err(), "{verb} both");
        assert!(parse(&format!("agentid {verb} --all --yes")).is_err(), "{verb} asks nothing");
    }
    assert!(parse("agentid tree").is_ok());
    assert!(parse("agentid extend abcd").is_err(), "by how much?");
    let Verb::Revoke(revoke) = parse("agentid revoke --label x=1 --older-than 10m").unwrap() else {
        panic!("not revoke")
    };
    let selector = select::selector(&revoke.selection.runs).unwrap();
    let expected = Selector {
        labels: [("x".to_owned(), "1".to_owned())].into(),
        older_than_ms: Some(600_000),
        ..Selector::default()
    };
    assert_eq!(selector, expected);
}

#[test]
fn a_revocation_of_several_is_a_table_with_a_sum() {
    let one = |number: u128, tasks, stopped_after_ms| RevokeReply {
        id: Uuid::from_u128(number),
        also: Vec::new(),
        tasks,
        remaining: 0,
        denied_after_ms: 0.31,
        connections: tasks,
        hung_up_after_ms: Some(1.0),
        frozen_after_ms: None,
        stopped_after_ms,
    };
    let mut reply = RevokeAllReply {
        runs: vec![one(0xa, 4, Some(3.86)), one(0xb, 1, Some(12.04))],
        denied_after_ms: 0.31,
        stopped_after_ms: Some(12.04),
    };
    let expected = "\
REVOKED       WITH IT  TASKS  LEFT  DENIED  STOPPED
00000000000a  0        4      0     0.3 ms  3.9 ms
00000000000b  0        1      0     0.3 ms  12.0 ms
2 runs revoked: everything denied after 0.3 ms, 5 tasks alive then, 5 connections ended after 1.0 ms, last task stopped after 12.0 ms
";
    assert_eq!(verb::revoke::several(&reply), expected);
    reply.runs.clear();
    assert_eq!(verb::revoke::several(&reply), "0 runs revoked\n");
}

#[test]
fn a_change_is_a_line_for_each_run() {
    let run = |error: Option<ErrorReply>| ChangedRun {
        id: Uuid::nil(),
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        phase: "active".to_owned(),
        deadline_ms: 1_800_000,
        error,
    };
    let refused = ErrorReply::new(Code::Bound, "too long", "ask for less");
    let reply = ChangeReply { runs: vec![run(None), run(Some(refused))] };
    let expected = "\
extended 00000000-0000-0000-0000-000000000000  reviewer for alice, T-1: until 1970-01-01T00:30:00Z
not extended 00000000-0000-0000-0000-000000000000  reviewer for alice, T-1: too long
  help: ask for less
1 of 2 runs extended
";
    assert_eq!(verb::change::text(Kind::Extend, &reply), expected);
    let reply = ChangeReply { runs: vec![run(None)] };
    let expected = "suspended 00000000-0000-0000-0000-000000000000  reviewer for alice, T-1\n";
    assert_eq!(verb::change::text(Kind::Suspend, &reply), expected);
}

#[test]
fn a_tree_has_processes_and_then_the_runs_below() {
    let process =
        |tgid, threads, comm: &str| ProcessView { tgid, threads, comm: Some(comm.to_owned()) };
    let other = |number, parent| RunView { id: Uuid::from_u128(number), parent, ..view() };
    let top = view().id;
    let runs = [
        TreeRun { run: view(), processes: vec![process(10, 1, "bash"), process(11, 3, "py\n")] },
        TreeRun { run: other(0xa, Some(top)), processes: vec![process(12, 1, "cargo")] },
        TreeRun { run: other(0xb, Some(Uuid::from_u128(0xa))), processes: Vec::new() },
        TreeRun { run: other(0xc, Some(Uuid::from_u128(0xdead))), processes: Vec::new() },
    ];
    let expected = "\
123456789abc  reviewer for alice, T-1  coding-agent  active
├─ 10 bash
├─ 11 py\\u{a}, 3 threads
└─ 00000000000a  reviewer for alice, T-1  coding-agent  active
   ├─ 12 cargo
   └─ 00000000000b  reviewer for alice, T-1  coding-agent  active
00000000000c  reviewer for alice, T-1  coding-agent  active
";
    assert_eq!(verb::tree::text(&runs), expected);
}

#[test]
fn whoami_and_owners_are_said_in_words() {
    let who = WhoAmI { uid: 1000, operator: false, run: None, about: None };
    assert_eq!(verb::whoami::text(&who), "user      1000\noperator  no\nrun       none\n");
    let about = OwnRun {
        agent: "reviewer".to_owned(),
        owner: "dana".to_owned(),
        on_behalf_of: Some("customer 7".to_owned()),
        task: "T-1".to_owned(),
        purpose: None,
        policy: "p@00".to_owned(),
        above: vec![Uuid::from_u128(1)],
        phase: "active".to_owned(),
        deadline_ms: 0,
    };
    let text =
        verb::whoami::text(&WhoAmI { run: Some(Uuid::from_u128(2)), about: Some(about), ..who });
    for part in ["on behalf of  customer 7\n", "task          T-1\n", "0000001\n"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("purpose"), "{text}");
    let reply = |denied, live| OwnerReply { owner: "bob".to_owned(), denied, live };
    let expected = "\
nothing is launched for bob any more
  2 runs of it live: agentid revoke --owner 'bob' ends them
";
    assert_eq!(verb::owner::text(&reply(true, 2)), expected);
    assert_eq!(verb::owner::text(&reply(false, 2)), "runs are launched for bob again\n");
}

/// What `xtask dist` packs: a script that says nothing of a verb, or that no shell can read, is of no use.
#[test]
fn every_verb_is_completed_in_each_shell() {
    use clap_complete::Shell;
    let verbs = Arguments::command();
    let verbs: Vec<&str> = verbs
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(clap::Command::get_name)
        .collect();
    for (shell, program) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let script = verb::completions::text(shell);
        for verb in &verbs {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
        assert!(script.contains("older-than"), "{shell}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, script.as_bytes()).unwrap();
        match std::process::Command::new(program).arg("-n").arg(file.path()).output() {
            Ok(done) => assert!(done.status.success() && done.stderr.is_empty(), "{done:?}"),
            // Only bash is everywhere.
            Err(_) => assert_ne!(shell, Shell::Bash, "bash is not here to read its script"),
        }
    }
}

#[test]
fn why_shows_verdict_rule_and_reason() {
    let reply = WhyReply {
        verdict: "deny".to_owned(),
        reason: Some("deny_rule".to_owned()),
        fault: None,
        rule: Some(3),
        by: None,
        rule_text: Some("deny read on **/.env".to_owned()),
        because: Some("secrets are not part of it".to_owned()),
        explanation: "rule 3 denies it".to_owned(),
        errno: Some("EACCES".to_owned()),
        grant: None,
        names: Vec::new(),
    };
    let expected = "\
deny: rule 3 denies it
  rule 3: deny read on **/.env
  because: secrets are not part of it
";
    assert_eq!(verb::why::text(&reply), expected);
    let missing = WhyReply {
        reason: Some("no_rule".to_owned()),
        rule: None,
        rule_text: None,
        because: None,
        explanation: "no rule: missing grant read on /x".to_owned(),
        grant: Some("[[file]]\npaths = [\"/x\"]\nallow = [\"read\"]\n".to_owned()),
        ..reply
    };
    let expected = "\
deny: no rule: missing grant read on /x
    [[file]]
    paths = [\"/x\"]
    allow = [\"read\"]
";
    assert_eq!(verb::why::text(&missing), expected);
}

#[test]
fn an_event_is_one_line_that_says_who_what_and_why() {
    let run = RunName {
        id: view().id,
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        policy: "coding-agent@00ff".to_owned(),
        above: Vec::new(),
    };
    let access = Access {
        sequence: 1,
        hook: "file_open".to_owned(),
        verdict: "deny".to_owned(),
        reason: Some("no_rule".to_owned()),
        fault: None,
        rule: None,
        by: None,
        because: None,
        process: Process { tgid: 4711, tid: 4711, uid: 1000, comm: "cat".to_owned() },
        object: Some(Object::File {
            path: Some("/home/alice/.ssh/id\n".to_owned()),
            want: vec!["read".to_owned()],
        }),
        execution: None,
    };
    let event = Event { seq: 1, time_ms: 1000, run: Some(run), what: What::Access(access) };
    let expected = "1970-01-01T00:00:01Z  deny   cat[4711] read /home/alice/.ssh/id\\u{a}: no rule \
                    grants it  [123456789abc reviewer for alice, T-1]\n";
    assert_eq!(render::event(&event), expected);
}

#[test]
fn an_execution_is_one_line_with_the_script_and_what_is_known_of_the_arguments() {
    let access = Access {
        sequence: 1,
        hook: "bprm_check_security".to_owned(),
        verdict: "allow".to_owned(),
        reason: None,
        fault: None,
        rule: Some(2),
        by: None,
        because: None,
        process: Process { tgid: 7, tid: 7, uid: 1000, comm: "sh".to_owned() },
        object: Some(Object::File {
            path: Some("/usr/bin/dash".to_owned()),
            want: vec!["exec".to_owned()],
        }),
        execution: None,
    };
    let told =
        |script: Option<&str>, arguments: &[&str], count, left_out: Option<&str>| Execution {
            interprets: script.is_some(),
            script: script.map(ToOwned::to_owned),
            argument_count: count,
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            left_out: left_out.map(ToOwned::to_owned),
        };
    let started = "bprm_committed_creds";
    for (hook, execution, expected) in [
        ("bprm_check_security", told(None, &[], 3, Some("unread")), "exec /usr/bin/dash: rule 2"),
        (
            "bprm_check_security",
            told(Some("./x"), &[], 3, Some("unread")),
            "exec /usr/bin/dash for the script ./x: rule 2",
        ),
        (started, told(None, &[], 2, Some("setting")), "starts /usr/bin/dash and 2 arguments"),
        (
            started,
            told(Some("./x"), &["sh"], 2, Some("setting")),
            "starts /usr/bin/dash for the script ./x as sh and 1 argument",
        ),
        (started, told(None, &["sh", "-c"], 2, None), "starts /usr/bin/dash as sh -c"),
        (started, told(None, &["sh", "-"], 2, Some("room")), "starts /usr/bin/dash as sh - …"),
    ] {
        let rule = (hook != started).then_some(2);
        let access = Access {
            hook: hook.to_owned(),
            rule,
            execution: Some(Box::new(execution)),
            ..access.clone()
        };
        let event = Event { seq: 1, time_ms: 1000, run: None, what: What::Access(access) };
        assert_eq!(
            render::event(&event),
            format!("1970-01-01T00:00:01Z  allow  sh[7] {expected}\n")
        );
    }
}

#[test]
fn every_verb_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    verb::manual::write(folder.path()).unwrap();
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for verb in Arguments::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        assert!(page(&format!("agentid-{}.1", verb.get_name())).contains(verb.get_name()));
    }
    assert!(page("agentid.1").contains("agentid\\-run"));
    assert!(page("agentid-why.1").contains("capability"));
}

/// The reference for people who have not installed it.
#[test]
fn every_verb_and_exit_status_is_in_the_readme() {
    let readme = include_str!("../../../README.md");
    let section = |title: &str| readme.split(title).nth(1).unwrap().split("\n## ").next().unwrap();
    let (verbs, statuses) = (section("\n## The command\n"), section("\n## Exit statuses\n"));
    for verb in Arguments::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let of_policy = verb.get_subcommands().map(clap::Command::get_name);
        for name in of_policy.chain([verb.get_name()]).filter(|name| *name != "policy") {
            let named = [format!("`{name}`"), format!("`policy {name}`")];
            assert!(named.iter().any(|name| verbs.contains(name.as_str())), "{name}");
        }
    }
    for line in exit::HELP.lines().filter_map(|line| line.strip_prefix("  ")) {
        let status = line.split(' ').next().unwrap();
        let rows = [format!("| {status} |"), format!("{status}, "), format!(", {status} |")];
        assert!(rows.iter().any(|row| statuses.contains(row.as_str())), "{status}");
    }
}
