//! What is typed and what comes of it, for every verb: the command itself, asking a daemon of which each answer is known.
//!
//! `AGENTID_BLESS=1` writes the transcripts anew. What a shell needs for completion and the manual are not among them, and
//! neither is `doctor`, which looks at the host.

#[cfg(test)]
mod daemon;
#[cfg(test)]
#[path = "../../src/policy/golden.rs"]
mod golden;

#[cfg(test)]
mod transcripts {
    use std::{
        ffi::OsStr,
        fs::{self, File},
        io::{Read as _, Write as _},
        os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, process::CommandExt as _},
        path::Path,
        process::{Command, Stdio},
    };

    use rustix::{
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{Winsize, tcsetwinsize},
    };

    use super::{daemon::Daemon, golden};

    const POLICY: &str = include_str!("../../POLICY.md");

    /// Types the lines one after the other, in a folder with the policies of the reference.
    #[track_caller]
    fn transcript(name: &str, lines: &[&str]) {
        record(None, name, lines);
    }

    /// The same as another user, for whom it is root that runs the tests.
    #[track_caller]
    fn transcript_as(uid: u32, name: &str, lines: &[&str]) {
        let root = nix::unistd::geteuid().is_root();
        record(root.then_some(uid), name, lines);
    }

    #[track_caller]
    fn record(uid: Option<u32>, name: &str, lines: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = POLICY.split("```toml\n").filter_map(|it| it.split("```").next());
        let tested = blocks.find(|it| it.starts_with("name = \"tested\"")).unwrap();
        fs::write(folder.path().join("tested.toml"), tested).unwrap();
        fs::write(folder.path().join("next.toml"), tested.replace("**/.env*", "**/.env")).unwrap();
        fs::write(folder.path().join("wrong.toml"), tested.replace("allow", "alow")).unwrap();
        fs::write(folder.path().join("elsewhere.toml"), "state = \"/nonexistent/agentid\"\n")
            .unwrap();
        let daemon = Daemon::start(folder.path(), tested);
        let text: String =
            lines.iter().map(|line| typed(line, folder.path(), &daemon, uid)).collect();
        golden::check(&format!("cli/{name}.txt"), &text);
    }

    /// A command without an environment, and without anybody to ask.
    fn command(line: &str, daemon: &Daemon) -> Command {
        let words = words(line);
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentid"));
        command
            .args(if line.contains("--socket") { None } else { Some(daemon.option()) })
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }

    fn typed(line: &str, folder: &Path, daemon: &Daemon, uid: Option<u32>) -> String {
        let mut command = command(line, daemon);
        command.current_dir(folder);
        if let Some(uid) = uid {
            // Where the command was built is not everybody's to look into.
            let open = || fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder, open()).unwrap();
            let copy = folder.join("agentid");
            // By another process: a command that is being started elsewhere would keep it open for writing.
            let copied = Command::new("cp").arg(command.get_program()).arg(&copy).status();
            assert!(copied.unwrap().success());
            let mut theirs = Command::new(copy);
            theirs.args(command.get_args()).env_clear().stdin(Stdio::null()).current_dir("/");
            command = theirs;
            command.uid(uid).gid(uid);
        }
        let output = command.output().unwrap();
        let mut text = format!("$ {line}\n");
        text += &String::from_utf8(output.stdout).unwrap();
        text += &String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => {}
            code => text += &format!("[exit status {}]\n", code.unwrap()),
        }
        daemon.timeless(&text) + "\n"
    }

    /// What somebody sees at a terminal of 80 columns who gives this answer, and the exit status.
    fn at_a_terminal(
        line: &str,
        daemon: &Daemon,
        environment: &[(&str, &str)],
        answer: &str,
    ) -> (String, i32) {
        let mut near = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let far = ptsname(&near, Vec::new()).unwrap();
        let far = File::options().read(true).write(true).open(OsStr::from_bytes(far.to_bytes()));
        let far = far.unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&near, size).unwrap();
        let mut command = command(line, daemon);
        let ends = [far.try_clone().unwrap(), far.try_clone().unwrap(), far];
        let [one, two, three] = ends.map(Stdio::from);
        command.stdin(one).stdout(two).stderr(three).envs(environment.iter().copied());
        let mut child = command.spawn().unwrap();
        // It has the far end from now on.
        drop(command);
        let (mut shown, mut asked) = (Vec::new(), false);
        let mut buffer = [0; 4096];
        // An error when nobody has the far end any more.
        while let Ok(count @ 1..) = near.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
            if !asked && shown.ends_with(b"? [y/N] ") {
                asked = true;
                near.write_all(answer.as_bytes()).unwrap();
            }
        }
        let status = child.wait().unwrap().code().unwrap();
        (String::from_utf8(shown).unwrap().replace("\r\n", "\n"), status)
    }

    /// Words between blanks; quotes hold some together.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for sign in line.chars() {
            match sign {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                sign => words.last_mut().unwrap().push(sign),
            }
        }
        words
    }

    #[test]
    fn runs_are_listed_and_shown() {
        transcript(
            "runs",
            &[
                "agentid ps",
                "agentid ps --quiet",
                "agentid ps --all --owner dana@example.org --json",
                "agentid show 123456789abc",
                "agentid show 123456789abc --json",
                "agentid show --label team=core",
                "agentid show --label team=core --ended --json",
                "agentid show --task none",
                "agentid show --task none --json",
                "agentid show --label team=core --quiet",
                "agentid show",
                "agentid tree",
                "agentid tree --json",
                "agentid tree --quiet",
                "agentid tree --agent reviewer",
                "agentid tree --agent none",
                "agentid show dead",
            ],
        );
    }

    #[test]
    fn runs_are_ended_and_changed() {
        transcript(
            "changes",
            &[
                "agentid revoke 123456789abc --reason enough",
                "agentid revoke 123456789abc --quiet",
                "agentid revoke 123456789abc --json",
                "agentid revoke 123456789abc --reason stuck",
                "agentid revoke 123456789abc --reason stuck --quiet",
                "agentid revoke --all --yes",
                "agentid revoke --all --yes --quiet",
                "agentid revoke --all --yes --json",
                "agentid revoke --all",
                "agentid revoke --self --reason done",
                "agentid revoke --self --all",
                "agentid revoke",
                "agentid suspend 123456789abc",
                "agentid suspend --owner dana@example.org --yes --json",
                "agentid resume 123456789abc --quiet",
                "agentid extend --all --yes --by 30m",
                "agentid extend --all --yes --by 30m --quiet",
                "agentid deny-owner dana@example.org --reason 'has left'",
                "agentid deny-owner dana@example.org --json",
                "agentid allow-owner dana@example.org",
                "agentid allow-owner dana@example.org --quiet",
            ],
        );
    }

    #[test]
    fn what_happened_is_told_with_its_reasons() {
        transcript(
            "events",
            &[
                "agentid events",
                "agentid events --json",
                "agentid events --after 1",
                "agentid events --after 27 --json",
                "agentid events --after 27 --last 5",
                "agentid events --owner dana@example.org",
                "agentid events --follow --last 9",
                "agentid why 123456789abc --open /home/dana/work/.env",
                "agentid why 123456789abc --open /home/dana/work/.env --quiet",
                "agentid why 123456789abc --open /home/dana/work/.env --json",
                "agentid why --self",
                "agentid why --self --json",
            ],
        );
    }

    #[test]
    fn the_host_and_the_caller_are_told() {
        transcript(
            "status",
            &[
                "agentid status",
                "agentid status --quiet",
                "agentid status --json",
                "agentid whoami",
                "agentid whoami --quiet",
                "agentid whoami --json",
            ],
        );
    }

    #[test]
    fn a_command_is_run_or_it_is_said_why_not() {
        let run = "agentid run --policy coding-agent --agent tour --owner dana --task T-1";
        let not = run.replace("coding-agent", "no-such");
        transcript(
            "run",
            &[
                &format!("{run} -- sh -c 'echo $AGENTID_INVOCATION; exit 7'"),
                &format!("{not} -- true"),
                &format!("{run} -- no-such-command"),
                &format!("{run} --param work=/a --param work=/b -- true"),
                "agentid delegate --policy tested -- sh -c 'exit 3'",
            ],
        );
    }

    #[test]
    fn what_runs_already_is_adopted() {
        let rest = "--policy coding-agent --agent tour --owner dana --task T-1";
        transcript(
            "adopt",
            &[
                &format!("agentid adopt --pid 4711 {rest}"),
                &format!("agentid adopt --cgroup /sys/fs/cgroup/builder.service {rest} --json"),
                &format!("agentid adopt --pid 4711 {rest} --quiet"),
                &format!("agentid adopt --pid 4712 {rest}"),
                &format!("agentid adopt --pid 4711 --unit builder {rest}"),
                &format!("agentid adopt {rest}"),
            ],
        );
    }

    /// What a host without tables of ours can say; the rest is tried in the guest (`tests/suite/offline.rs`).
    #[test]
    fn an_offline_revocation_is_roots_and_needs_the_daemons_state() {
        // Whoever runs the tests: as nobody, unless he is somebody anyway.
        transcript_as(65_534, "offline", &["agentid revoke 123456789abc --offline"]);
        if nix::unistd::geteuid().is_root() {
            transcript(
                "offline-root",
                &[
                    "agentid revoke --all --offline --config none.toml",
                    "agentid revoke --all --offline --config elsewhere.toml",
                    "agentid revoke --self --offline",
                ],
            );
        }
    }

    /// Nothing that only a terminal can be asked is done without an answer, and none but yes is one.
    #[test]
    fn a_selection_is_asked_about_on_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path(), "");
        let mut text = String::new();
        for (line, answer) in [
            ("agentid revoke --all", "y\n"),
            ("agentid revoke --owner dana@example.org", "n\n"),
            ("agentid suspend --agent reviewer", "\n"),
            ("agentid revoke --all", "\u{4}"),
            ("agentid revoke --task none", ""),
        ] {
            let (shown, status) = at_a_terminal(line, &daemon, &[], answer);
            text += &format!("$ {line}\n{}", daemon.timeless(&shown));
            text +=
                &if status == 0 { "\n".to_owned() } else { format!("[exit status {status}]\n\n") };
        }
        golden::check("cli/asked.txt", &text);
    }

    #[test]
    fn colours_are_for_terminals_that_have_some_and_people_who_want_them() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path(), "");
        for line in ["agentid --help", "agentid events --help", "agentid polcy"] {
            let coloured = |more: &[(&str, &str)]| {
                at_a_terminal(line, &daemon, more, "").0.contains("\u{1b}[")
            };
            assert!(coloured(&[("TERM", "xterm-256color")]), "{line}");
            assert!(!coloured(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]), "{line}");
            assert!(!coloured(&[("TERM", "dumb")]), "{line}");
            let piped = typed(line, folder.path(), &daemon, None);
            assert!(!piped.contains('\u{1b}'), "{line}");
        }
        // Answers have none at all, so that they read the same everywhere.
        for line in ["agentid ps", "agentid tree", "agentid events", "agentid show dead"] {
            let (shown, _) = at_a_terminal(line, &daemon, &[("TERM", "xterm-256color")], "");
            assert!(!shown.contains('\u{1b}'), "{line}: {shown}");
        }
    }

    #[test]
    fn policies_are_listed_shown_and_explained() {
        let explain = "agentid policy explain tested.toml";
        let with = "--param workspace=/home/u/work";
        transcript(
            "policy",
            &[
                "agentid policy list",
                "agentid policy list --quiet",
                "agentid policy list --json",
                "agentid policy show tested.toml",
                "agentid policy show tested.toml --json",
                "agentid policy show tested",
                "agentid policy show no-such",
                &format!("{explain} --open /home/u/work/.env --write {with}"),
                &format!("{explain} --open /home/u/work/a {with}"),
                &format!("{explain} --open /home/u/work/a {with} --quiet"),
                &format!("{explain} --open /home/u/work/a {with} --json"),
                &format!("{explain} --open /home/u/work/a"),
                "agentid policy explain tested --connect 10.1.0.7:22",
                &format!("{explain} --capability net_raw --quiet"),
                "agentid policy check next.toml",
                "agentid policy check next.toml --quiet",
                "agentid policy check tested.toml",
                "agentid policy check wrong.toml",
                "agentid policy check wrong.toml --json",
                "agentid policy test tested.toml",
                "agentid policy test tested.toml --quiet",
                "agentid policy test tested.toml --json",
                "agentid policy diff tested.toml next.toml",
                "agentid policy diff tested.toml next.toml --exit-code --json",
                "agentid policy diff tested.toml next.toml --exit-code --quiet",
                "agentid policy show none.toml",
            ],
        );
    }

    #[test]
    fn slips_are_understood() {
        transcript(
            "slips",
            &[
                "agentid --socket /nonexistent/control.sock ps",
                "agentid --socket /nonexistent/control.sock run --policy p --agent a --owner o --task t -- true",
                "agentid polcy list",
                "agentid policy explain tested.toml --conect 10.1.0.7:22",
                "agentid ps --quiet --json",
                "agentid why 1234 --connect example.org",
                "agentid extend 1234 --by soon",
                "agentid run --policy p -- true",
            ],
        );
    }
}
