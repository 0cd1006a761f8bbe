//! Programs that people use, under the policies that ship: they do their work, and a run's record of denials is what is
//! written here, so that nobody is surprised by one.

mod ci_step;
mod coding_agent;
mod data_query;
mod research;

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use agentid_tests::harness::{
    Daemon, Place, Scene,
    view::{Access, Object, What},
    wait,
};
use anyhow::{Context as _, Result, ensure};

/// The text of a policy that ships.
fn shipped(name: &str) -> Result<String> {
    let path = format!("/etc/agentid/policies.d/{name}.toml");
    fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
}

/// A program's work: what a shell is told, how that ends, what must be in what it says, and what the run is denied meanwhile,
/// each as `RIGHT OBJECT`, where `~` is the place's folder.
struct Work<'a> {
    tells: &'a str,
    well: bool,
    says: &'a str,
    denied: &'a [&'a str],
}

/// What goes well.
fn does<'a>(tells: &'a str, says: &'a str, denied: &'a [&'a str]) -> Work<'a> {
    Work { tells, well: true, says, denied }
}

/// What does not, for the reason that the program gives.
fn fails<'a>(tells: &'a str, says: &'a str, denied: &'a [&'a str]) -> Work<'a> {
    Work { tells, well: false, says, denied }
}

/// Where a run of a policy works: a folder for each of its parameters, the first of which is its home, that are a user's.
struct Site<'a> {
    daemon: &'a Daemon,
    policy: &'a str,
    place: Place,
    params: &'a [&'a str],
    uid: u32,
}

/// What a run said, and how it ended.
struct Done {
    well: bool,
    said: String,
    /// With the run's own story, for whom a denial surprises.
    denied: BTreeSet<String>,
    story: String,
}

impl<'a> Site<'a> {
    fn of(daemon: &'a Daemon, policy: &'a str, params: &'a [&'a str], uid: u32) -> Result<Self> {
        let place = Place::below(daemon.scene().path())?;
        for param in params {
            let folder = place.path().join(param);
            fs::create_dir_all(&folder)?;
            chown(&folder, Some(uid), Some(uid))?;
        }
        Ok(Self { daemon, policy, place, params, uid })
    }

    fn folder(&self, param: &str) -> PathBuf {
        self.place.path().join(param)
    }

    /// Leaves a file of the user's, which everybody may read and execute as far as file modes go.
    fn leave(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder(path);
        let folder = path.parent().context("it lies nowhere")?;
        fs::create_dir_all(folder)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        for path in [folder, &path] {
            chown(path, Some(self.uid), Some(self.uid))?;
        }
        Ok(())
    }

    /// A run of the policy that does this, in a shell.
    fn run(&self, tells: &str) -> Result<Done> {
        let home = self.folder(self.params.first().context("no parameter")?);
        let mut agentid = self.daemon.agentid();
        agentid.args(["run", "--policy", self.policy, "--agent", "program", "--owner", "suite"]);
        agentid.args(["--task", "work"]);
        for param in self.params {
            agentid.arg("--param").arg(format!("{param}={}", self.folder(param).display()));
            agentid.env(param.to_uppercase(), self.folder(param));
        }
        let tells = format!("echo $AGENTID_INVOCATION; {tells}");
        agentid.args(["--", "/bin/bash", "-c", &tells]).current_dir(&home).stdin(Stdio::null());
        agentid.env("HOME", &home).env("TMPDIR", &home).env("LC_ALL", "C").env("TERM", "dumb");
        let Output { status, stdout, stderr } = agentid.uid(self.uid).gid(self.uid).output()?;
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        let (id, said) = said.split_once('\n').with_context(|| said.clone())?;
        let denied = wait::until("the run's record is whole", wait::SOON, || self.denials(id))?;
        let story = self.daemon.story(id)?;
        Ok(Done { well: status.success(), said: said.to_owned(), denied, story })
    }

    /// What a run that is over was denied, once all of it is known.
    fn denials(&self, id: &str) -> Result<Option<BTreeSet<String>>> {
        let events = self.daemon.events(id)?;
        let ended = events.iter().find_map(|event| match &event.what {
            What::Ended(ended) => Some(ended),
            _ => None,
        });
        let Some(ended) = ended else { return Ok(None) };
        ensure!(ended.lost == Some(0), "{ended:?}");
        let accesses = events.iter().filter_map(|event| match &event.what {
            What::Access(access) if access.verdict != "allow" => Some(self.line(access)),
            _ => None,
        });
        Ok(Some(accesses.collect()))
    }

    fn line(&self, access: &Access) -> String {
        match &access.object {
            Some(Object::File { path: Some(path), want }) => {
                format!("{} {}", want.join(","), self.known(path))
            }
            Some(Object::Peer { address: Some(address), port }) => format!("peer {address}:{port}"),
            Some(Object::Capability { name }) => format!("use {name}"),
            _ => format!("{access:?}"),
        }
    }

    /// A path without what is another each time: the place, numbers of processes, and the ends of temporary names.
    fn known(&self, path: &str) -> String {
        let path = path.replace(&self.place.path().display().to_string(), "~");
        let is_number =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let names = path.split('/').map(|name| match name.rsplit_once('.') {
            Some((begin, end)) if begin.starts_with('.') && end.len() == 6 => {
                format!("{begin}.RANDOM")
            }
            _ if is_number(name) => "PID".to_owned(),
            _ => name.to_owned(),
        });
        names.collect::<Vec<String>>().join("/")
    }

    /// Does all of this work, one run for each, and tells all that was otherwise.
    fn works(&self, works: &[Work<'_>]) -> Result<()> {
        let mut otherwise = Vec::new();
        for work in works {
            let done = self.run(work.tells)?;
            let expected: BTreeSet<String> =
                work.denied.iter().map(|line| (*line).to_owned()).collect();
            if done.well != work.well || !done.said.contains(work.says) || done.denied != expected {
                otherwise.push(format!(
                    "uid {}, {}: {}\nsaid: {}\ndenied: {:#?}\n{}",
                    self.uid, self.policy, work.tells, done.said, done.denied, done.story
                ));
            }
        }
        ensure!(otherwise.is_empty(), "{}\n{}", otherwise.join("\n"), self.daemon.log());
        Ok(())
    }
}

/// A scene with these policies that ship, as they are.
fn scene(names: &[&str]) -> Result<Scene> {
    let texts = names.iter().map(|name| shipped(name)).collect::<Result<Vec<String>>>()?;
    let named: Vec<(&str, &str)> =
        names.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    Scene::with(&named)
}

/// Waits until a program of ours answers with what is expected.
fn answers(program: &str, arguments: &[&str], expected: &str, folder: &Path) -> Result<()> {
    wait::until(program, wait::SOON, || {
        let mut command = Command::new(program);
        let said = command.args(arguments).current_dir(folder).output()?.stdout;
        Ok(String::from_utf8_lossy(&said).contains(expected).then_some(()))
    })
}
