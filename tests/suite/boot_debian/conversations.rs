//! What a run is in the middle of when it is ended.

use std::{
    fs::{self, File},
    io::Read as _,
    net::{TcpStream, UdpSocket},
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::{Child, Stdio},
};

use agentid_tests::harness::{
    Daemon, Scene,
    scene::{USER, USERS},
    wait,
};
use anyhow::{Context as _, Result, ensure};

use super::Servers;

/// What grows beside the shipped policy, whose file rules let programs of the system run.
const TALK: &str = r#"
[[net]]
to = ["www.clients.test:20444"]
resolves_to = ["127.0.0.0/8"]
allow = ["connect"]

[[net]]
to = ["127.1.0.1:20445-20446"]
allow = ["connect"]

[[net]]
to = ["127.1.0.1:20447"]
proto = "udp"
allow = ["connect"]

[[net]]
on = ["127.1.0.1:20448"]
allow = ["listen"]

[[file]]
paths = ["${workspace}/peers.sock"]
allow = ["connect"]
"#;
const PEERS: &str = include_str!("conversations/peers.py");
const TALKER: &str = include_str!("conversations/talker.py");
const ALL: [&str; 5] = ["tls", "download", "upload", "unix", "udp"];
/// All but datagrams, which have no end.
const CONNECTED: [&str; 4] = ["tls", "download", "upload", "unix"];

fn scene(folder: &Path) -> Result<Scene> {
    let shipped = fs::read_to_string("/etc/agentid/policies.d/coding-agent.toml")?;
    let rules = shipped.split("[[expect]]").next().unwrap_or_default();
    let policy = |on_end: &str| {
        let head = format!("\"{on_end}\"\non_end = \"{on_end}\"");
        rules.replacen("\"coding-agent\"", &head, 1) + TALK
    };
    let (kill, deny) = (policy("kill"), policy("deny"));
    let scene = Scene::with(&[("kill", &kill), ("deny", &deny)])?;
    let settings = fs::read_to_string(scene.settings())?;
    fs::write(scene.settings(), settings + "name_servers = [\"127.0.0.1:5300\"]\n")?;
    fs::write("/etc/resolv.conf", "nameserver 192.0.2.53\n")?;
    for (name, text) in [
        ("cert.pem", fs::read_to_string(folder.join("cert.pem"))?),
        ("talker.py", TALKER.to_owned()),
    ] {
        let path = scene.workspace().join(name);
        fs::write(&path, text)?;
        chown(path, Some(USER), Some(USER))?;
    }
    Ok(scene)
}

/// Those whom the run talks to, and what they have said.
struct Peers {
    process: Child,
    said: std::path::PathBuf,
}

impl Peers {
    fn start(servers: &Servers, socket: &Path, name: &str) -> Result<Self> {
        let said = servers.folder.join(name);
        let mut command = servers.here("python3");
        command.args(["-c", PEERS]).arg(socket).stdin(Stdio::null());
        let process = command.stdout(File::create(&said)?).spawn()?;
        let peers = Self { process, said };
        peers.say("ready")?;
        Ok(peers)
    }

    fn lines(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(&self.said)?.lines().map(ToOwned::to_owned).collect())
    }

    /// Waits until they say this.
    fn say(&self, line: &str) -> Result<()> {
        wait::until(line, wait::SOON, || {
            Ok(self.lines()?.iter().any(|said| said == line).then_some(()))
        })
    }

    /// How many datagrams they have had `before`, or from then on.
    fn mark(&self, when: &str) -> Result<u64> {
        let ours = UdpSocket::bind("127.1.0.1:0")?;
        wait::until(when, wait::SOON, || {
            // One that finds no room is lost.
            ours.send_to(when.as_bytes(), "127.1.0.1:20447")?;
            let lines = self.lines()?;
            let count = lines.iter().find_map(|line| line.strip_prefix(when)?.trim().parse().ok());
            Ok(count)
        })
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("the peers do not end: {error}");
        }
    }
}

/// P4: a download over TLS and one over TCP, an upload, a conversation over a unix socket, datagrams and a server with a
/// client, all under way when the run is ended: each other end hears of it at once, and nothing comes after the answer.
#[test]
fn conversations_end_with_the_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let servers = Servers::start(folder.path())?;
    let daemon = Daemon::start_in(scene(folder.path())?)?;
    for uid in USERS {
        for policy in ["kill", "deny"] {
            let what = format!("{policy}-{uid}");
            let workspace = daemon.scene().workspace();
            let socket = workspace.join("peers.sock");
            if socket.exists() {
                fs::remove_file(&socket)?;
            }
            let peers = Peers::start(&servers, &socket, &what)?;
            let param = format!("workspace={}", workspace.display());
            let talk = "curl -sS --cacert cert.pem -o /dev/null https://www.clients.test:20444/ & \
                        curl -sS --http0.9 -o /dev/null http://127.1.0.1:20445/ & \
                        exec python3 talker.py $PWD/peers.sock";
            let mut command = daemon.agentid();
            command.args(["run", "--policy", policy, "--agent", "talker", "--owner", "suite"]);
            command.args(["--task", &what, "--param", &param, "--", "/bin/bash", "-c", talk]);
            command.current_dir(&workspace).uid(uid).gid(uid).stdin(Stdio::null());
            command.env("HOME", &workspace).env("TMPDIR", &workspace).env("LC_ALL", "C");
            let log = folder.path().join("talker.log");
            command.stdout(File::create(&log)?).stderr(File::create(&log)?);
            let mut run = command.spawn()?;

            for name in ALL {
                peers.say(&format!("begun {name}")).with_context(|| {
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    format!("{what}: {said}\n{}", daemon.log())
                })?;
            }
            let mut client = wait::until("a server", wait::SOON, || {
                Ok(TcpStream::connect("127.1.0.1:20448").ok())
            })?;
            client.set_read_timeout(Some(wait::SOON))?;
            client.read_exact(&mut [0; 64]).context("failed to hear from the run's server")?;

            let id = daemon.ps()?.into_iter().find(|view| view.task == what);
            let id = id.with_context(|| format!("{what} is no run"))?.id;
            daemon.revoke(&id)?;
            ensure!(peers.mark("before")? > 0, "{what}: no datagram came");
            for name in CONNECTED {
                peers.say(&format!("ended {name}")).with_context(|| what.clone())?;
            }
            let mut rest = Vec::new();
            match client.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => {
                    ensure!(error.raw_os_error() == Some(libc::ECONNRESET), "{what}: {error}");
                }
            }
            ensure!(TcpStream::connect("127.1.0.1:20448").is_err(), "{what}: it listens still");
            ensure!(peers.mark("after")? == 0, "{what}: datagrams came after the answer");
            if policy == "deny" {
                let killed = daemon.agentid().args(["revoke", "--kill", &id]).output()?;
                let said = String::from_utf8_lossy(&killed.stderr);
                // Denied everything, its tasks may have ended by themselves.
                ensure!(killed.status.success() || said.contains("is over already"), "{said}");
            }
            run.wait()?;
        }
    }
    Ok(())
}
