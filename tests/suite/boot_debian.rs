//! Real programs in a Debian root: they know nothing of us, and find what they are granted by its name.

mod conversations;
mod launchers;
mod programs;
mod worktrees;

use std::{
    fs,
    net::{TcpStream, UdpSocket},
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use agentid_tests::harness::{
    Daemon, Scene,
    scene::{USER, USERS},
    wait,
};
use anyhow::{Context as _, Result, ensure};

/// What grows beside the shipped policy, whose file rules let programs of the system run.
const NAMES: &str = r#"
[[net]]
to = ["*.clients.test:20443", "*.clients.test:20080"]
resolves_to = ["127.0.0.0/8", "[::1]"]
allow = ["connect"]

[[net]]
to = ["secret.clients.test:*"]
deny = "all"
because = "not for agents"
"#;

/// A zone whose public addresses are those of loopback.
const ZONE: &str = "$ORIGIN clients.test.
$TTL 60
@ SOA ns.clients.test. root.clients.test. 1 60 60 60 60
@ NS ns
ns A 127.1.0.53
www A 127.1.0.1
www AAAA ::1
www HTTPS 1 . alpn=h2 ipv4hint=127.1.0.1
mirror CNAME www
only4 A 127.1.0.1
secret A 127.1.0.1
";

/// Programs that end with it.
struct Servers {
    folder: PathBuf,
    processes: Vec<Child>,
}

impl Servers {
    /// Servers that work in a folder, none of them started.
    fn none(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), processes: Vec::new() }
    }

    /// An authoritative server of names, and servers of HTTP and HTTPS with a certificate for `*.clients.test`.
    fn start(folder: &Path) -> Result<Self> {
        let mut servers = Self::none(folder);
        fs::create_dir_all(folder)?;
        fs::write(folder.join("clients.test.zone"), ZONE)?;
        fs::write(
            folder.join("knot.conf"),
            format!(
                "server:\n  listen: 127.0.0.1@5300\n  rundir: {0}\ndatabase:\n  storage: {0}\n\
                 log:\n  - target: stderr\n    any: warning\n\
                 zone:\n  - domain: clients.test\n    storage: {0}\n    file: clients.test.zone\n",
                folder.display()
            ),
        )?;
        done(servers.here("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=clients.test",
            "-addext",
            "subjectAltName=DNS:*.clients.test",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ]))?;
        // With loopback addresses alone libc takes the host for one without a network, and asks for none.
        for address in ["198.51.100.2/32", "2001:db8::2/128"] {
            done(servers.here("ip").args(["address", "replace", address, "dev", "lo"]))?;
        }
        fs::write(folder.join("page"), "a page\n")?;
        for line in [
            "init -q --bare -b main repo.git",
            "init -q -b main work",
            "-C work -c user.name=a -c user.email=a@b commit -q --allow-empty -m first",
            "-C work push -q ../repo.git main",
            "-C repo.git update-server-info",
        ] {
            done(servers.here("git").args(line.split(' ')))?;
        }
        servers.spawn("knotd", &["--config", "knot.conf"])?;
        servers.spawn("python3", &["-m", "http.server", "--bind", "127.1.0.1", "20080"])?;
        let https = "import http.server,ssl\n\
            s=http.server.ThreadingHTTPServer(('127.1.0.1',20443),http.server.SimpleHTTPRequestHandler)\n\
            c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER);c.load_cert_chain('cert.pem','key.pem')\n\
            s.socket=c.wrap_socket(s.socket,server_side=True);s.serve_forever()";
        servers.spawn("python3", &["-c", https])?;
        for at in ["127.1.0.1:20080", "127.1.0.1:20443", "127.0.0.1:5300"] {
            wait::until(at, wait::SOON, || Ok(TcpStream::connect(at).is_ok().then_some(())))?;
        }
        Ok(servers)
    }

    fn here(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("HOME", &self.folder);
        command
    }

    fn spawn(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let command = self.here(program);
        self.start_up(command, program, arguments)
    }

    /// As the user to whom this file belongs.
    fn spawn_as(&mut self, owner: &fs::Metadata, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.here(program);
        command.uid(owner.uid()).gid(owner.gid());
        self.start_up(command, program, arguments)
    }

    fn start_up(&mut self, mut command: Command, program: &str, arguments: &[&str]) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{}.log", self.processes.len())))?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("failed to start {program}"))?;
        self.processes.push(process);
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            if let Err(error) = process.kill().and_then(|()| process.wait().map(drop)) {
                eprintln!("a server does not end: {error}");
            }
        }
    }
}

fn done(command: &mut Command) -> Result<()> {
    let Output { status, stderr, .. } = command.output()?;
    ensure!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    Ok(())
}

/// A scene with the policy `clients`, whose daemon asks the server of names.
fn scene(folder: &Path) -> Result<Scene> {
    let shipped = fs::read_to_string("/etc/agentid/policies.d/coding-agent.toml")?;
    let policy = shipped.replace("\"coding-agent\"", "\"clients\"") + NAMES;
    let scene = Scene::with(&[("clients", &policy)])?;
    let settings = fs::read_to_string(scene.settings())?;
    fs::write(scene.settings(), settings + "name_servers = [\"127.0.0.1:5300\"]\n")?;
    // Nobody is there: a packet that got out would find nothing.
    fs::write("/etc/resolv.conf", "nameserver 192.0.2.53\nnameserver 2001:db8::53\n")?;
    fs::copy(folder.join("cert.pem"), scene.workspace().join("cert.pem"))?;
    chown(scene.workspace().join("cert.pem"), Some(USER), Some(USER))?;
    Ok(scene)
}

/// What a command says within a run, and whether it went well.
fn within(daemon: &Daemon, uid: u32, command: &str) -> Result<(bool, String)> {
    let workspace = daemon.scene().workspace();
    let param = format!("workspace={}", workspace.display());
    let mut agentid = daemon.agentid();
    agentid.args(["run", "--policy", "clients", "--agent", "client", "--owner", "suite"]);
    agentid.args(["--task", "names", "--param", &param, "--", "/bin/bash", "-c", command]);
    agentid.current_dir(&workspace).uid(uid).gid(uid).stdin(Stdio::null());
    agentid.env("HOME", &workspace).env("TMPDIR", &workspace).env("LC_ALL", "C");
    let Output { status, stdout, stderr } = agentid.output()?;
    let said = [stdout, stderr].concat();
    Ok((status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// P2: resolvers of libc, of curl, git, python and node, and dig, find what is granted and nothing else.
#[test]
fn programs_find_what_they_are_granted_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _servers = Servers::start(folder.path())?;
    let daemon = Daemon::start_in(scene(folder.path())?)?;
    let names =
        "import socket,sys;print(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1],20080)}))";
    let fetch = "import urllib.request;print(urllib.request.urlopen('http://www.clients.test:20080/page').read().decode())";
    let node = "require('dns').resolve4('www.clients.test',(e,a)=>{console.log(e?e.code:a.join());\
                require('dns').lookup('only4.clients.test',(e,a)=>console.log(e?e.code:a))})";
    for uid in USERS {
        for (command, expected) in [
            ("dig +short www.clients.test A", "127.1.0.1"),
            ("dig +short +tcp www.clients.test AAAA", "::1"),
            ("dig +short @2001:db8::53 mirror.clients.test A", "127.1.0.1"),
            ("dig +short www.clients.test HTTPS", "ipv4hint=127.1.0.1"),
            ("getent ahostsv4 only4.clients.test", "127.1.0.1"),
            ("curl -sS --cacert cert.pem https://mirror.clients.test:20443/page", "a page"),
            (&format!("python3 -c \"{names}\" www.clients.test"), "['127.1.0.1', '::1']"),
            (&format!("python3 -c \"{fetch}\""), "a page"),
            (
                &format!(
                    "rm -rf at-{uid}; git clone -q http://only4.clients.test:20080/repo.git at-{uid} && git -C at-{uid} log --format=%s"
                ),
                "first",
            ),
            (&format!("node -e \"{node}\""), "127.1.0.1\n127.1.0.1"),
        ] {
            let (well, said) = within(&daemon, uid, command)?;
            assert!(
                well && said.contains(expected),
                "uid {uid}: {command}: {said}\n{}",
                daemon.log()
            );
        }
        for (command, expected) in [
            ("dig +short secret.clients.test", ""),
            ("dig secret.clients.test", "status: NXDOMAIN"),
            ("dig secret.clients.test", "EDE: 18 (Prohibited)"),
            ("dig +tcp other.test", "status: NXDOMAIN"),
            ("getent ahosts secret.clients.test; echo status $?", "status 2"),
            ("curl -sS http://secret.clients.test:20080/page", "Could not resolve host"),
            (
                "curl -sS --resolve secret.clients.test:20080:127.1.0.1 http://secret.clients.test:20080/page",
                "curl: (7)",
            ),
            (&format!("python3 -c \"{names}\" other.test"), "Name or service not known"),
            ("git clone -q http://other.test:20080/repo.git never", "Could not resolve host"),
        ] {
            let (_, said) = within(&daemon, uid, command)?;
            assert!(
                said.contains(expected) && !said.contains("127.1.0.1,"),
                "uid {uid}: {command}: {said}"
            );
        }
    }
    // Who is no run asks whom he wants.
    let mut ours = Command::new("dig");
    ours.args(["+short", "@127.0.0.1", "-p", "5300", "secret.clients.test"]);
    let said = String::from_utf8_lossy(&ours.output()?.stdout).into_owned();
    assert_eq!(said.trim(), "127.1.0.1");
    assert!(
        UdpSocket::bind("127.0.0.1:53").is_ok(),
        "the daemon takes no port of a server of names"
    );
    Ok(())
}
