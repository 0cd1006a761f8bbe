//! Agents that review branches, each in a worktree of its own.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use agentid_tests::harness::{Daemon, Place, Scene, scene::USERS};
use anyhow::Result;

use super::done;

/// What grows beside the shipped policy: git looks up what all worktrees share.
const REPOSITORY: &str = r#"
[[file]]
paths = ["${repository}/.git/**"]
allow = ["read"]
"#;

fn scene() -> Result<Scene> {
    let shipped = fs::read_to_string("/etc/agentid/policies.d/coding-agent.toml")?;
    let policy = shipped
        .replace("\"coding-agent\"", "\"review\"")
        .replace("params = [\"workspace\"]", "params = [\"workspace\", \"repository\"]");
    // Its expectations are of a run with one parameter.
    let policy = policy.split("[[expect]]").next().unwrap_or_default().to_owned() + REPOSITORY;
    Scene::with(&[("review", &policy)])
}

/// A repository with the worktrees `one` and `two`, each on a branch of its own, which are a user's.
fn repository(place: &Path, uid: u32) -> Result<()> {
    fs::create_dir(place.join("repo"))?;
    fs::write(place.join("repo/code"), "of main\n")?;
    for line in [
        "init -q -b main",
        "add code",
        "commit -q -m first",
        "worktree add -q -b one ../one",
        "worktree add -q -b two ../two",
    ] {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(line.split(' '));
        done(git.current_dir(place.join("repo")).env("HOME", place))?;
    }
    fs::write(place.join("two/code"), "of two\n")?;
    let owner = format!("{uid}:{uid}");
    done(Command::new("chown").args(["-R", &owner, "repo", "one", "two"]).current_dir(place))
}

/// What a command says in a run of the reviewer of branch `one`, and whether it went well.
fn review(daemon: &Daemon, place: &Path, uid: u32, command: &str) -> Result<(bool, String)> {
    let worktree = place.join("one");
    let mut agentid = daemon.agentid();
    agentid.args(["run", "--policy", "review", "--agent", "review", "--owner", "suite"]);
    agentid.args(["--task", "branch one"]);
    for (param, path) in [("workspace", &worktree), ("repository", &place.join("repo"))] {
        agentid.args(["--param", &format!("{param}={}", path.display())]);
    }
    agentid.args(["--", "/bin/bash", "-c", command]).current_dir(&worktree).stdin(Stdio::null());
    agentid.env("HOME", &worktree).env("TMPDIR", &worktree).env("LC_ALL", "C");
    // Looking must not write to what all worktrees share.
    agentid.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_PAGER", "cat");
    let Output { status, stdout, stderr } = agentid.uid(uid).gid(uid).output()?;
    let said = [stdout, stderr].concat();
    Ok((status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// P2: a review agent works in its branch's worktree, with git, and neither sees nor touches the sibling's, nor the checkout
/// of the repository itself. What is committed is in the store that all worktrees share, and no secret from any of them.
#[test]
fn a_review_agent_is_held_to_the_worktree_of_its_branch() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let place = Place::below(daemon.scene().path())?;
        let place = place.path();
        repository(place, uid)?;
        for (command, expected) in [
            ("cat code", "of main"),
            ("git log --format=%s one", "first"),
            ("git status --short --branch", "## one"),
            ("echo changed > code && git diff", "+changed"),
            ("echo fine > review && cat review", "fine"),
        ] {
            let (well, said) = review(&daemon, place, uid, command)?;
            assert!(
                well && said.contains(expected),
                "uid {uid}: {command}: {said}\n{}",
                daemon.log()
            );
        }
        for command in [
            "cat ../two/code",
            "cat \"$PWD\"/../two/code",
            "ls ../two",
            "echo x > ../two/code",
            "echo x > ../two/new",
            "rm ../two/code",
            "ln -s ../two/code link && cat link",
            "mv ../two/code mine",
            "ln ../two/code mine",
            "cat ../repo/code",
            "echo x >> ../repo/.git/config",
            "echo x > ../repo/.git/hooks/post-checkout",
        ] {
            let (well, said) = review(&daemon, place, uid, command)?;
            // A name that would bring a right is refused as if it were on another filesystem.
            let refused = said.contains("denied") || said.contains("cross-device");
            assert!(!well && refused, "uid {uid}: {command}: {said}");
            assert!(!said.contains("of two"), "uid {uid}: {command}: {said}");
        }
        let (well, said) = review(&daemon, place, uid, "git -C ../two diff")?;
        assert!(!well && !said.contains("of two"), "uid {uid}: {said}");
        assert_eq!(fs::read_to_string(place.join("two/code"))?, "of two\n", "uid {uid}");
        assert!(!fs::exists(place.join("two/new"))?, "uid {uid}");
    }
    Ok(())
}
