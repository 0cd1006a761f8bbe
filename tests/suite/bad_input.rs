//! Bad input: each has a clear error, and nothing has changed.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output},
};

use agentid_tests::harness::{
    Attacker, Daemon, Scene,
    adjust::{pins, refused},
    cli::AGENTID,
    daemon::AGENTIDD,
    scene::USER,
};
use anyhow::{Context as _, Result, ensure};

/// `run`: the run was not launched.
const NOT_LAUNCHED: i32 = 125;
/// The daemon does not answer.
const AWAY: i32 = 69;
/// The arguments are wrong.
const USAGE: i32 = 2;

/// Nothing of ours is in the kernel that was not there before. Who is refused would have a folder of its own.
fn check_untouched(before: &BTreeSet<OsString>) -> Result<()> {
    let now = pins()?;
    ensure!(now == *before, "there are pins in {now:?}, and were in {before:?}");
    Ok(())
}

/// P9: a policy's mistakes are told all at once, each with its place, and the daemon does not start.
#[test]
fn tells_all_five_mistakes_of_a_policy() -> Result<()> {
    let text = "name = \"bad\"\nttl = \"soon\"\ncolour = \"red\"\nparams = [\"workspace\"]\n[[file]]\n\
                paths = [\"${elsewhere}/**\"]\nallow = [\"raed\"]\n[[net]]\n\
                to = [\"10.0.0.1/8:99999\"]\nallow = [\"connect\"]\n";
    let scene = Scene::with(&[("bad", text)])?;
    let before = scene.pin_apart()?;
    let said = scene.refused_start()?;
    let check = ["policy", "check"];
    let file = scene.path().join("policies/bad.toml");
    let checked = Command::new(AGENTID).args(check).arg(&file).output()?;
    assert_eq!(checked.status.code(), Some(4));
    for said in [said, String::from_utf8_lossy(&checked.stderr).into_owned()] {
        for place in ["bad.toml:2:", "bad.toml:3:", "bad.toml:6:", "bad.toml:7:", "bad.toml:9:"] {
            assert!(said.contains(place), "{place} is not in {said}");
        }
    }
    check_untouched(&before)
}

/// P9: what is asked for wrongly is not launched, and the command does not begin.
#[test]
fn launches_nothing_that_is_asked_for_wrongly() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    let nowhere = format!("workspace={}/nowhere", daemon.scene().path().display());
    let file = format!("workspace={}", daemon.scene().granted().display());
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--policy", "atacker", "--owner", "o", "--param", &workspace], NOT_LAUNCHED, "attacker"),
        (&["--policy", "attacker", "--param", &workspace], USAGE, "--owner"),
        (&["--policy", "attacker", "--owner", "", "--param", &workspace], NOT_LAUNCHED, "owner"),
        (&["--policy", "attacker", "--owner", "o", "--param", &nowhere], NOT_LAUNCHED, "folder"),
        (&["--policy", "attacker", "--owner", "o", "--param", &file], NOT_LAUNCHED, "folder"),
        (&["--policy", "attacker", "--owner", "o"], NOT_LAUNCHED, "workspace"),
        (
            &["--policy", "attacker", "--owner", "o", "--param", &workspace, "--param", "x=/usr"],
            NOT_LAUNCHED,
            "\"x\"",
        ),
    ];
    for (arguments, status, word) in cases {
        let mut command = daemon.agentid();
        command.args(["run", "--agent", "a", "--task", "t"]).args(arguments);
        let said = fails(&mut command, daemon.scene(), status)?;
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert!(daemon.ps()?.is_empty());
    Ok(())
}

/// Runs `agentid run` with a command that would leave a file: what it says.
fn fails(command: &mut Command, scene: &Scene, status: i32) -> Result<String> {
    let trace = scene.workspace().join("trace");
    command.args(["--", "/bin/touch"]).arg(&trace);
    let Output { status: ended, stderr, .. } = command.output()?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(ended.code() == Some(status), "{command:?} ended with {ended}: {said}");
    ensure!(!fs::exists(&trace)?, "the command has run: {said}");
    Ok(said)
}

/// P2: without the daemon nothing is launched.
#[test]
fn launches_nothing_while_the_daemon_is_away() -> Result<()> {
    let scene = Attacker::scene()?;
    let before = scene.pin_apart()?;
    let mut command = Command::new(AGENTID);
    command.arg("--socket").arg(scene.socket());
    command.args(["run", "--policy", "attacker", "--agent", "a", "--owner", "o", "--task", "t"]);
    let said = fails(&mut command, &scene, AWAY)?;
    assert!(said.contains("does not answer"), "{said}");
    assert!(said.contains("systemctl status agentid"), "{said}");
    check_untouched(&before)
}

/// P6: the second daemon goes, the first one and its runs stay.
#[test]
fn refuses_a_second_daemon() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let run = Attacker::inside(&daemon, USER)?;
    let said = daemon.scene().refused_start()?;
    assert!(said.contains("another agentid daemon runs already"), "{said}");
    assert_eq!(daemon.status()?.posture, "enforcing");
    assert_eq!(daemon.show(run.id())?.phase, "active");
    Ok(())
}

/// A port that somebody else has is named, and nothing is loaded.
#[test]
fn refuses_a_busy_metrics_port() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let scene = Scene::new()?;
    let before = scene.pin_apart()?;
    scene.set("metrics", Some(&address))?;
    let said = scene.refused_start()?;
    assert!(said.contains(&address), "{said}");
    check_untouched(&before)
}

/// P6: a state file that cannot be read may be the one of a live run, so the start stops and names it.
#[test]
fn refuses_a_corrupt_state_file() -> Result<()> {
    let mut daemon = Daemon::start_in(Attacker::scene()?)?;
    let run = Attacker::inside(&daemon, USER)?;
    daemon.stop()?;
    let file = daemon.scene().state().join(format!("invocations/{}.json", run.id()));
    let good = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    fs::write(&file, good.get(..good.len() / 2).context("the state file is empty")?)?;
    let said = daemon.scene().refused_start()?;
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert!(said.contains("corrupt"), "{said}");
    // The enforcement is as the first daemon left it, and comes back whole with the file.
    fs::write(&file, good)?;
    daemon.start_again()?;
    assert_eq!(daemon.show(run.id())?.phase, "active");
    Ok(())
}

/// Who is not root is told so.
#[test]
fn refuses_to_start_for_a_user() -> Result<()> {
    let scene = Scene::new()?;
    let before = scene.pin_apart()?;
    scene.set("state", Some(&format!("{}/state", scene.outside().display())))?;
    let mut command = Command::new(AGENTIDD);
    command.uid(USER).gid(USER).arg("--config").arg(scene.settings());
    let said = refused(&mut command)?;
    assert!(said.contains("run it as root"), "{said}");
    check_untouched(&before)
}

/// A mistake in the settings has its place, and the policies are not even read.
#[test]
fn tells_the_place_of_a_mistake_in_the_settings() -> Result<()> {
    let scene = Scene::new()?;
    let before = scene.pin_apart()?;
    scene.set("metricks", Some("off"))?;
    let lines = fs::read_to_string(scene.settings())?.lines().count();
    let said = scene.refused_start()?;
    assert!(said.contains(&format!("agentid.toml:{lines}:1: ")), "{said}");
    assert!(said.contains("metricks"), "{said}");
    assert!(!Path::new(&scene.socket()).exists());
    check_untouched(&before)
}
