//! Text for people, and JSON for programs.

use std::{
    io::{self, ErrorKind, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agentid_common::verdict::Hook;
use serde::Serialize;
use uuid::Uuid;

use super::{args::Output, exit, failure::Failure};
use crate::{
    event::event::{
        Access, Event, Execution, Forgotten, Held, LaunchLimits, Missed, Name, Object, Renewed,
        What,
    },
    instance::Bounds,
};

/// Writes a text to standard output. Whether anybody still reads it; that nobody does is no error.
pub fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            let remedy = "look where standard output goes, and whether there is room";
            Err(Failure::new(format!("write the answer: {error}"), exit::FAILURE, remedy))
        }
    }
}

/// Writes a value as indented JSON.
pub fn json(value: &impl Serialize) -> Result<bool, Failure> {
    let text = serde_json::to_string_pretty(value);
    print(&(text.map_err(Failure::mistake)? + "\n"))
}

/// An answer as it is wanted: in words, for programs, or not at all.
pub fn answer(
    output: Output,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if output.json {
        json(value)?;
    } else if !output.quiet {
        print(&text())?;
    }
    Ok(())
}

/// Names and values below each other; values that are empty are left out.
pub fn list(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {}\n", clean(value))).collect()
}

/// The text without characters that would steer a terminal, or that nobody sees: names of files are the run's choice, and two owners
/// must not look alike.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_unseen(character) {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// `AF_UNIX` and `AF_NETLINK` of Linux.
const UNIX: u16 = 1;
const NETLINK: u16 = 16;

/// Characters that have no shape of their own: they reorder, join or part what stands around them, begin a line, or do nothing. All of
/// Unicode's `Default_Ignorable_Code_Point`, and those of `Cf` and of lines beside it that are shown as nothing.
fn is_unseen(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The end of an ID, which is random: enough to name a run by.
pub fn short(id: Uuid) -> String {
    let text = id.to_string();
    text.rsplit('-').next().unwrap_or(&text).to_owned()
}

/// A moment, in milliseconds since 1970, in UTC.
pub fn moment(ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// From one moment to another, in its two largest units: `1m30s`, `3d4h`.
pub fn span(from_ms: u64, to_ms: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut seconds = to_ms.saturating_sub(from_ms) / 1000;
    let mut text = String::new();
    let first = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    for (name, unit) in UNITS.iter().skip(first).take(2) {
        if seconds >= *unit || text.is_empty() {
            text += &format!("{}{name}", seconds / unit);
        }
        seconds %= unit;
    }
    text
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An event in one line: when, what, and for whom.
pub fn event(event: &Event) -> String {
    let what = match &event.what {
        What::Access(access) => self::access(access),
        What::Name(name) => self::name(name),
        What::Launched(launched) => {
            let limits = launched.limits.as_ref().map(|it| {
                let LaunchLimits { memory, tasks, cpu } = *it;
                format!(", within {}", Bounds { memory, tasks, cpu })
            });
            let (uid, command) = (launched.uid, launched.command.join(" "));
            format!("launched  uid {uid} executes {command}{}", limits.unwrap_or_default())
        }
        What::Stopped(stopped) => {
            format!("denied everything  {}", ending(&stopped.ending, stopped.reason.as_deref()))
        }
        What::Suspended(held) => held_line("suspended", held),
        What::Resumed(held) => held_line("resumed", held),
        What::Extended(held) => {
            let until = format!("extended until {}", moment(held.deadline_ms));
            held_line(&until, held)
        }
        What::Renewed(Renewed { from, mistake: None, .. }) => format!("policy renewed  was {from}"),
        What::Renewed(Renewed { from, mistake: Some(mistake), .. }) => {
            format!("policy stays {from}  {mistake}")
        }
        What::Ended(ended) => format!("ended  {}", ending(&ended.ending, ended.reason.as_deref())),
        What::Posture(change) => match &change.why {
            Some(why) => format!("posture  {}: {why}", change.posture),
            None => format!("posture  {}", change.posture),
        },
        What::Policies(policies) => match policies.mistakes {
            0 => format!("policies  {}", policies.offered.join(" ")),
            mistakes => format!("policies  as before: {mistakes} mistakes in the new ones"),
        },
        What::Owner(change) => {
            let verb = if change.denied { "is denied launches" } else { "has launches again" };
            let what = format!("owner {} {verb}", change.owner);
            format!("{}  by uid {}", ending(&what, change.reason.as_deref()), change.by_uid)
        }
        What::Dropped(dropped) => format!("{} events were dropped here", dropped.count),
        What::Missed(missed) => self::missed(missed),
        What::Forgotten(Forgotten { runs }) => {
            format!("forgotten  the records of {} runs that ended long ago", runs.len())
        }
    };
    let run = event.run.as_ref().map_or_else(String::new, |run| {
        format!("  [{} {} for {}, {}]", short(run.id), run.agent, run.owner, run.task)
    });
    format!("{}  {}\n", moment(event.time_ms), clean(&(what + &run)))
}

fn missed(missed: &Missed) -> String {
    let count = missed.count.map_or_else(|| "some".to_owned(), |count| count.to_string());
    let why = match missed.why.as_str() {
        "restarted" => "the daemon has started since, and knows none from before",
        "evicted" => "there have been too many since",
        "unknown" => "the number is of no event of this host",
        other => other,
    };
    format!("{count} events may be missing here: {why}")
}

fn held_line(what: &str, held: &Held) -> String {
    format!("{}  by uid {}", ending(what, held.reason.as_deref()), held.by_uid)
}

fn ending(ending: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{ending}: {reason}"),
        None => ending.to_owned(),
    }
}

fn name(name: &Name) -> String {
    let mut line = format!("name {}  {} {}", name.verdict, name.record, name.name);
    if !name.addresses.is_empty() {
        line += &format!("  {}", name.addresses.join(" "));
    }
    if let Some(reason) = &name.reason {
        line += &format!("  {reason}");
    }
    if let Some(rule) = name.rule {
        line += &format!("  rule {rule}");
    }
    if let Some(id) = name.by {
        line += &format!("  of {}, a run above", short(id));
    }
    if let Some(because) = &name.because {
        line += &format!("  ({because})");
    }
    if name.unrecorded > 0 {
        line += &format!("  {} before it are not shown", name.unrecorded);
    }
    line
}

fn access(access: &Access) -> String {
    let object = match &access.object {
        Some(Object::File { path, want }) => {
            let path = path.as_deref().unwrap_or("(a file without a path)");
            match &access.execution {
                Some(told) => format!("{} {path}{}", execution_verb(access), execution(told)),
                None => format!("{} {path}", want.join(",")),
            }
        }
        Some(Object::AbstractSocket { name, want }) => format!("{} @{name}", want.join(",")),
        Some(Object::Peer { address: Some(address), port, protocol, verb, .. }) => {
            let verb = verb.as_deref().unwrap_or("connect");
            let address = match address.parse() {
                Ok(ip) => std::net::SocketAddr::new(ip, *port).to_string(),
                Err(_) => format!("{address}:{port}"),
            };
            format!("{verb} {address}/{protocol}")
        }
        Some(Object::Peer { address: None, family: UNIX, .. }) => {
            "connect to a unix socket without a path".to_owned()
        }
        Some(Object::Peer { address: None, family: NETLINK, port, protocol, .. }) => {
            format!("netlink protocol {protocol}, message {port}")
        }
        Some(Object::Peer { address: None, family, verb, .. }) => {
            format!("{}, family {family}", verb.as_deref().unwrap_or("connect"))
        }
        Some(Object::Socket { family, protocol }) => {
            format!("socket, family {family}, protocol {protocol}")
        }
        Some(Object::SocketOption { level, option }) => {
            format!("option {option} of level {level}")
        }
        Some(Object::Capability { name }) => format!("capability {name}"),
        None => access.hook.clone(),
    };
    let whose = access.by.map(|id| format!(" of {}, a run above,", short(id))).unwrap_or_default();
    let rule = match (&access.fault, access.rule, access.reason.as_deref()) {
        (Some(fault), _, _) => format!("fault {fault}"),
        (None, Some(rule), Some("tripwire")) => format!("rule {rule}{whose} is a tripwire"),
        (None, Some(rule), _) => format!("rule {rule}{}", whose.trim_end_matches(',')),
        (None, None, Some("no_rule")) => format!("no rule{whose} grants it"),
        (None, None, Some(reason)) => reason.to_owned(),
        (None, None, None) => String::new(),
    };
    let because = access.because.as_deref().map(|text| format!(", because {text}"));
    let (comm, tgid) = (&access.process.comm, access.process.tgid);
    let line = format!("{:5}  {comm}[{tgid}] {object}", access.verdict);
    if rule.is_empty() { line } else { line + ": " + &rule + &because.unwrap_or_default() }
}

/// The one hook tells what was started, the other what was asked for.
fn execution_verb(access: &Access) -> &str {
    if access.hook == Hook::BprmCommittedCreds.name() { "starts" } else { "exec" }
}

/// What comes after the path: the script, and the arguments that are known.
fn execution(told: &Execution) -> String {
    let mut line = match (told.interprets, &told.script) {
        (false, _) => String::new(),
        (true, Some(script)) => format!(" for the script {script}"),
        (true, None) => " for a script".to_owned(),
    };
    if !told.arguments.is_empty() {
        line += &format!(" as {}", told.arguments.join(" "));
    }
    let known = u32::try_from(told.arguments.len()).unwrap_or(u32::MAX);
    match (told.left_out.as_deref(), told.argument_count.saturating_sub(known)) {
        (None | Some("unread"), _) => line,
        (Some(_), 0) => line + " …",
        (Some(_), 1) => line + " and 1 argument",
        (Some(_), more) => line + &format!(" and {more} arguments"),
    }
}
