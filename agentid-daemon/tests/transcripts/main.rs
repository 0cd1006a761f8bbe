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
    use std::{fs, path::Path, process::Command};

    use super::{daemon::Daemon, golden};

    const POLICY: &str = include_str!("../../POLICY.md");

    /// Types the lines one after the other, in a folder with the policies of the reference.
    #[track_caller]
    fn transcript(name: &str, lines: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = POLICY.split("```toml\n").filter_map(|it| it.split("```").next());
        let tested = blocks.find(|it| it.starts_with("name = \"tested\"")).unwrap();
        fs::write(folder.path().join("tested.toml"), tested).unwrap();
        fs::write(folder.path().join("next.toml"), tested.replace("**/.env*", "**/.env")).unwrap();
        fs::write(folder.path().join("wrong.toml"), tested.replace("allow", "alow")).unwrap();
        let daemon = Daemon::start(folder.path(), tested);
        let text: String = lines.iter().map(|line| typed(line, folder.path(), &daemon)).collect();
        golden::check(&format!("cli/{name}.txt"), &text);
    }

    fn typed(line: &str, folder: &Path, daemon: &Daemon) -> String {
        let words = words(line);
        let output = Command::new(env!("CARGO_BIN_EXE_agentid"))
            .args(if line.contains("--socket") { None } else { Some(daemon.option()) })
            .args(&words[1..])
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let mut text = format!("$ {line}\n");
        text += &String::from_utf8(output.stdout).unwrap();
        text += &String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => {}
            code => text += &format!("[exit status {}]\n", code.unwrap()),
        }
        daemon.timeless(&text) + "\n"
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
                "agentid tree",
                "agentid tree --json",
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
            &["agentid status", "agentid status --json", "agentid whoami", "agentid whoami --json"],
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
