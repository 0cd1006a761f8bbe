//! What the daemon says of itself, and what it would read now.

use std::{collections::BTreeMap, io::ErrorKind, path::Path};

use super::{Check, State, told};
use crate::{
    cli::{failure::Failure, render},
    control::{
        api::{StatusReply, WhoAmI},
        client::{Client, ClientError},
    },
    supervisor::{folder, store},
};

/// So many hundredths of a table are many.
const MANY: u64 = 80;
/// A clock that differs less was not set.
const STEP_MS: u64 = 60_000;

/// Answers of the daemon.
#[derive(Debug)]
pub enum Heard {
    Answer {
        socket: String,
        who: Box<WhoAmI>,
        status: Box<StatusReply>,
    },
    /// It is asked from within a run, to which it says nothing of the host.
    FromARun,
    Nothing(Failure),
}

impl Heard {
    pub fn ask(socket: &Path, client: &Client) -> Self {
        let ask = || -> Result<Self, ClientError> {
            let who: WhoAmI = client.get("/v1/whoami")?;
            if who.run.is_some() {
                return Ok(Self::FromARun);
            }
            let status = client.get("/v1/status")?;
            let socket = socket.display().to_string();
            Ok(Self::Answer { socket, who: Box::new(who), status: Box::new(status) })
        };
        ask().unwrap_or_else(|error| Self::Nothing(error.into()))
    }
}

/// Versions of the policies in a folder by their names, or what is wrong with them.
#[derive(Debug)]
pub enum Folder {
    Read(BTreeMap<String, String>),
    Wrong(Vec<String>),
    Unseen(String),
}

pub fn folder(path: &Path) -> Folder {
    match std::fs::read_dir(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Folder::Read(BTreeMap::new()),
        Err(error) => return Folder::Unseen(format!("{}: {error}", path.display())),
    }
    match folder::load(path) {
        Ok(policies) => {
            let version =
                |(policy, text): folder::Text| (policy.name().to_owned(), store::digest(&text));
            Folder::Read(policies.into_iter().map(version).collect())
        }
        Err(errors) => {
            let text = |error| {
                let text = Failure::new(error, 0, "correct it").text();
                text.lines().next().unwrap_or_default().to_owned()
            };
            Folder::Wrong(errors.into_iter().map(text).collect())
        }
    }
}

/// What follows from it.
pub fn heard(heard: &Heard, folder: &Folder, now_ms: u64) -> Vec<Check> {
    let (socket, who, status) = match heard {
        Heard::Answer { socket, who, status } => (socket, who, status),
        Heard::FromARun => {
            let seen = "it says nothing of the host to a run";
            return vec![Check::new("daemon", State::Unseen, seen, "ask from outside of the run")];
        }
        Heard::Nothing(failure) => {
            let remedy = failure.help().to_owned();
            let daemon = Check::new("daemon", State::Failed, told(failure), remedy);
            return [daemon].into_iter().chain(policies(None, false, folder)).collect();
        }
    };
    let mut checks = vec![daemon(socket, status, now_ms), posture(status), programs(status)];
    checks.push(tables(status));
    checks.extend(policies(Some(status), who.operator, folder));
    checks
}

fn daemon(socket: &str, status: &StatusReply, now_ms: u64) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    let version = render::clean(&status.version);
    let since = render::moment(status.started_ms);
    let seen = format!("version {version} answers at {socket}, up since {since}");
    if version != own {
        let seen = format!("{seen}; this command is of version {own}");
        let remedy = "systemctl restart agentid, where another version was installed meanwhile";
        return Check::new("daemon", State::Warning, seen, remedy);
    }
    if status.started_ms > now_ms.saturating_add(STEP_MS) {
        let seen = format!("{seen}, which is to come: the clock was set back");
        return Check::new("daemon", State::Warning, seen, "times of records may overlap");
    }
    Check::ok("daemon", seen)
}

fn posture(status: &StatusReply) -> Check {
    let seen = match &status.why {
        Some(why) => render::clean(&format!("{}: {why}", status.posture)),
        None => status.posture.clone(),
    };
    let state = match status.posture.as_str() {
        "enforcing" => return Check::ok("posture", seen),
        "degraded" => State::Warning,
        _ => State::Failed,
    };
    Check::new("posture", state, seen, "journalctl -u agentid; systemctl restart agentid")
}

fn programs(status: &StatusReply) -> Check {
    let needed = || status.hooks.iter().filter(|hook| hook.needed);
    let missing: Vec<String> = needed()
        .filter(|hook| !hook.attached)
        .map(|hook| {
            let why = hook.why_not.as_deref().unwrap_or("unknown");
            render::clean(&format!("{} ({why})", hook.name))
        })
        .collect();
    let (attached, all) = (needed().count() - missing.len(), needed().count());
    let seen = format!("{attached} of {all} attached");
    if missing.is_empty() {
        return Check::ok("programs", seen);
    }
    let seen = format!("{seen}; not {}", missing.join(", "));
    let remedy = "systemctl restart agentid attaches all of them anew";
    Check::new("programs", State::Failed, seen, remedy)
}

/// The kernel's tables, and the slots for runs.
fn tables(status: &StatusReply) -> Check {
    let live = status.active + status.suspended + status.stopping;
    let tables = status.maps.iter().map(|map| (map.name.as_str(), map.entries, map.capacity));
    let share = |entries: u64, capacity: u64| entries.saturating_mul(100) / capacity.max(1);
    let all = tables.chain([("slots for runs", live, status.slots)]);
    let fullest = all.max_by_key(|(_, entries, capacity)| share(*entries, *capacity));
    let Some((name, entries, capacity)) = fullest else {
        return Check::new("tables", State::Unseen, "the daemon names none", "agentid status");
    };
    let seen = format!("the fullest is {}: {entries} of {capacity}", render::clean(name));
    let state = match share(entries, capacity) {
        100.. => State::Failed,
        MANY.. => State::Warning,
        _ => return Check::ok("tables", seen),
    };
    Check::new("tables", state, seen, "end runs that are done: agentid ps, agentid revoke")
}

/// Those in force, and those that would be read now.
fn policies(status: Option<&StatusReply>, operator: bool, folder: &Folder) -> Vec<Check> {
    let name = "policies";
    let check = "agentid policy check FILE says more; what was read before is in force meanwhile";
    let told = status.map(|status| status.policy_mistakes.as_slice()).unwrap_or_default();
    let here = if let Folder::Wrong(mistakes) = folder { mistakes.as_slice() } else { &[] };
    let mistakes = if here.is_empty() { told } else { here };
    if !mistakes.is_empty() {
        let each = mistakes.iter().map(|text| render::clean(text));
        return each.map(|text| Check::new(name, State::Failed, text, check)).collect();
    }
    let Some(status) = status else {
        return match folder {
            Folder::Read(read) if !read.is_empty() => {
                vec![Check::ok(name, format!("{} without a mistake", read.len()))]
            }
            Folder::Read(_) => vec![none()],
            Folder::Wrong(_) => Vec::new(),
            Folder::Unseen(why) => vec![Check::new(name, State::Unseen, why, "ask as root")],
        };
    };
    let in_force = status.policies.iter().map(|it| (it.name.clone(), it.digest.clone()));
    let in_force: BTreeMap<String, String> = in_force.collect();
    let seen = format!("{} in force", in_force.len());
    vec![match folder {
        Folder::Read(read) if *read != in_force => {
            let seen = format!("{seen}; those in the folder are others");
            Check::new(name, State::Warning, seen, "systemctl reload agentid")
        }
        _ if in_force.is_empty() => none(),
        Folder::Unseen(why) if !operator => {
            let seen = format!("{seen}; whether there are newer ones is not known: {why}");
            Check::new(name, State::Unseen, seen, "ask as root")
        }
        Folder::Read(_) | Folder::Wrong(_) | Folder::Unseen(_) => Check::ok(name, seen),
    }]
}

fn none() -> Check {
    let remedy = "put one into /etc/agentid/policies.d, then systemctl reload agentid";
    Check::new("policies", State::Warning, "there is none, so nothing can be launched", remedy)
}
