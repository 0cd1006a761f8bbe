//! Reading the web by name.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt as _};

use agentid_tests::harness::{Daemon, Scene, scene::USERS};
use anyhow::Result;

use super::{super::Servers, Site, does, fails, shipped};

/// The hosts of this guest in place of those that the policy names.
const HOSTS: &str = r#"
[[net]]
to = ["www.clients.test:20443", "only4.clients.test:20443"]
resolves_to = ["127.0.0.0/8", "[::1]"]
allow = ["connect"]
"#;

fn scene() -> Result<Scene> {
    let policy = shipped("research")?;
    let (rules, _) = policy.split_once("[[expect]]").unwrap_or_default();
    let scene = Scene::with(&[("research", &(rules.to_owned() + HOSTS))])?;
    let settings = fs::read_to_string(scene.settings())?;
    fs::write(scene.settings(), settings + "name_servers = [\"127.0.0.1:5300\"]\n")?;
    fs::write("/etc/resolv.conf", "nameserver 192.0.2.53\n")?;
    Ok(scene)
}

/// P2: curl and python read the hosts that are named, over TLS, and take notes; other hosts have no name and no address for
/// them, keys are not read, what was fetched is not executed, and nothing is delegated.
#[test]
fn the_web_is_read_by_name_under_research() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _servers = Servers::start(folder.path())?;
    let daemon = Daemon::start_in(scene()?)?;
    let certificate = fs::read_to_string(folder.path().join("cert.pem"))?;
    // As far as file modes go, everybody reads it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let key = folder.path().join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let (key, url) = (key.display().to_string(), "https://www.clients.test:20443/page");
    assert!(TcpStream::connect("127.1.0.1:20080").is_ok(), "others reach the server");
    for uid in USERS {
        let site = Site::of(&daemon, "research", &["notes"], uid)?;
        site.leave("notes/cert.pem", &certificate)?;
        site.leave("notes/.ssh/id_ed25519", "a key\n")?;
        site.leave("home/.netrc", "machine www.clients.test password of-the-person\n")?;
        let fetch = format!("curl -sS --cacert cert.pem -o page {url} && cat page");
        let read = format!(
            "python3 -c \"import ssl, urllib.request as u; print(u.urlopen('{url}', context=ssl.create_default_context(cafile='cert.pem')).read())\""
        );
        let cat = format!("cat {key}");
        site.works(&[
            does(&fetch, "a page", &[]),
            does(&read, "a page", &[]),
            fails("curl -sS https://mirror.clients.test:20443/page", "Could not resolve host", &[]),
            fails(
                "curl -sS http://www.clients.test:20080/page",
                "curl: (7)",
                &["peer 127.1.0.1:20080", "peer ::1:20080"],
            ),
            fails(
                "curl -sS -k https://127.1.0.2:20443/page",
                "curl: (7)",
                &["peer 127.1.0.2:20443"],
            ),
            fails(&cat, "Permission denied", &[&format!("read {key}")]),
            fails("cat .ssh/id_ed25519", "Permission denied", &["read ~/notes/.ssh/id_ed25519"]),
            fails("cat ../home/.netrc", "Permission denied", &["read ~/home/.netrc"]),
            fails(
                "echo 'echo fetched' > page; chmod +x page; ./page",
                "Permission denied",
                &["exec ~/notes/page"],
            ),
        ])?;
    }
    Ok(())
}
