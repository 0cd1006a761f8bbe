//! What the service is told by `/etc/agentid/agentid.toml`. Every field has a default; an unknown one is an error.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use agentid_common::{map::SLOTS, net::DNS_PORT};
use serde::{Deserialize, Deserializer, de::Error as _};

#[cfg(test)]
mod tests;

const A_SECOND: Duration = Duration::from_secs(1);
/// Longest time for which a name can stand for an address.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Longest time for which the record of an ended run can be kept: ten years.
const LONGEST_KEPT: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Most records of ended runs that can be kept.
const MOST_KEPT: usize = 1_000_000;
/// Most runs that the kernel's table has room for; the canary has a slot, too.
const MOST_LIVE: usize = SLOTS as usize - 1;

/// Settings of `agentidd`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The socket at which launchers and operators ask.
    #[serde(deserialize_with = "absolute")]
    pub control: PathBuf,
    /// What must outlive the service: records of invocations and the texts of their policies.
    #[serde(deserialize_with = "absolute")]
    pub state: PathBuf,
    /// Folder of `*.toml` files, one policy each.
    #[serde(deserialize_with = "absolute")]
    pub policies: PathBuf,
    /// Folder on bpffs that keeps the programs attached.
    #[serde(deserialize_with = "absolute")]
    pub bpffs: PathBuf,
    /// Where metrics are scraped; `None` is `"off"`.
    #[serde(deserialize_with = "listen")]
    pub metrics: Option<SocketAddr>,
    /// Members may do what root may at the control socket.
    #[serde(deserialize_with = "group")]
    pub operators_group: Option<String>,
    /// What happens to live runs when the kernel is found not to enforce.
    pub on_enforcement_lost: OnEnforcementLost,
    /// The servers that are asked for the names that runs may know; without any, those of `/etc/resolv.conf`.
    #[serde(deserialize_with = "servers")]
    pub name_servers: Vec<SocketAddr>,
    /// Which arguments of the programs that runs execute are recorded.
    pub record_arguments: RecordArguments,
    /// How long the record of a run is kept after its end.
    #[serde(deserialize_with = "long_duration")]
    pub keep_ended: Duration,
    /// The most that are kept, from 1 to a million. They are in the daemon's memory, too.
    #[serde(deserialize_with = "records")]
    pub keep_ended_at_most: usize,
    /// How long the programs stay attached that only runs need, after the last one that has needed them.
    #[serde(deserialize_with = "pause")]
    pub detach_after: Duration,
    /// How many runs of one user, root aside, live at once.
    #[serde(deserialize_with = "live_runs")]
    pub runs_per_user: usize,
    /// The cgroup below which runs are that may not use more of the host than their policy says.
    #[serde(deserialize_with = "cgroup")]
    pub limited_runs: PathBuf,
    /// How long an address can be used at least after its name was asked for, whatever the answer says.
    #[serde(deserialize_with = "duration")]
    pub pin_at_least: Duration,
    /// How long it can be used at most; a program that goes on asks again.
    #[serde(deserialize_with = "duration")]
    pub pin_at_most: Duration,
}

/// What happens to live runs when the kernel is found not to enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnEnforcementLost {
    /// They end, and their tasks are killed.
    #[default]
    Kill,
    /// They end, and their tasks are left to what still enforces.
    Deny,
}

/// Which arguments of an executed program are recorded. What is left out is not read from the program's memory at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordArguments {
    None,
    /// The first one, which is the program's name. The others may be secrets, and those who read events are not always
    /// those who may look at the run's processes.
    #[default]
    First,
    /// As many as there is room for.
    All,
}

impl RecordArguments {
    /// How many there are at most.
    pub const fn most(self) -> u32 {
        match self {
            Self::None => 0,
            Self::First => 1,
            Self::All => u32::MAX,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            control: "/run/agentid/control.sock".into(),
            state: "/var/lib/agentid".into(),
            policies: "/etc/agentid/policies.d".into(),
            bpffs: "/sys/fs/bpf/agentid".into(),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 9187))),
            operators_group: None,
            on_enforcement_lost: OnEnforcementLost::default(),
            name_servers: Vec::new(),
            record_arguments: RecordArguments::default(),
            keep_ended: Duration::from_secs(30 * 24 * 60 * 60),
            keep_ended_at_most: 10_000,
            detach_after: Duration::from_secs(10),
            runs_per_user: 4096,
            limited_runs: "/agentid".into(),
            pin_at_least: Duration::from_secs(5 * 60),
            pin_at_most: Duration::from_secs(60 * 60),
        }
    }
}

/// A mistake in the settings; lines and columns from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct SettingsError {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read {file}")]
    Io { file: String, source: std::io::Error },
    #[error(transparent)]
    Mistake(#[from] SettingsError),
}

/// The settings in a file.
pub fn read(file: &Path) -> Result<Settings, ReadError> {
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => Ok(parse(&name, &text)?),
        Err(source) => Err(ReadError::Io { file: name, source }),
    }
}

/// Reads settings. `file` is how the error names them.
pub fn parse(file: &str, text: &str) -> Result<Settings, SettingsError> {
    toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|sign| *sign != '\n').count() + 1;
        let message = error.message().trim_end().replace('\n', ", ");
        SettingsError { file: file.to_owned(), line, column, message }
    })
}

fn absolute<'de, D: Deserializer<'de>>(input: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(input)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(D::Error::custom(format!("{} is not an absolute path", path.display())))
    }
}

/// From the root of the hierarchy on, and not that root itself.
fn cgroup<'de, D: Deserializer<'de>>(input: D) -> Result<PathBuf, D::Error> {
    let path = absolute(input)?;
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if path.file_name().is_some() && path.components().all(plain) {
        Ok(path)
    } else {
        Err(D::Error::custom(format!("{} is no cgroup below the root", path.display())))
    }
}

fn listen<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(input)?;
    if text == "off" {
        return Ok(None);
    }
    let wrong = || format!("`{text}` is neither an address with a port nor \"off\"");
    text.parse().map(Some).map_err(|_| D::Error::custom(wrong()))
}

/// Addresses, with or without a port.
fn servers<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<SocketAddr>, D::Error> {
    let server = |text: &String| {
        let usual = |address: IpAddr| SocketAddr::new(address, DNS_PORT);
        let found = text.parse().or_else(|_| text.parse().map(usual));
        found.map_err(|_| D::Error::custom(format!("`{text}` is not an address of a server")))
    };
    Vec::<String>::deserialize(input)?.iter().map(server).collect()
}

fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    duration_within(input, A_SECOND..=LONGEST, "1s and 7d")
}

fn long_duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    duration_within(input, A_SECOND..=LONGEST_KEPT, "1s and 10y")
}

fn records<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    up_to(input, MOST_KEPT)
}

fn live_runs<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    up_to(input, MOST_LIVE)
}

fn up_to<'de, D: Deserializer<'de>>(input: D, limit: usize) -> Result<usize, D::Error> {
    let most = usize::deserialize(input)?;
    if !(1..=limit).contains(&most) {
        return Err(D::Error::custom(format!("{most} is not between 1 and {limit}")));
    }
    Ok(most)
}

fn pause<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    duration_within(input, Duration::ZERO..=LONGEST, "0s and 7d")
}

fn duration_within<'de, D: Deserializer<'de>>(
    input: D,
    range: RangeInclusive<Duration>,
    bounds: &str,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    let found = humantime::parse_duration(&text).map_err(D::Error::custom)?;
    if !range.contains(&found) {
        return Err(D::Error::custom(format!("`{text}` is not between {bounds}")));
    }
    Ok(found)
}

fn group<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(input)?;
    if name.is_empty() {
        return Err(D::Error::custom("name of a group is empty: leave the field out for none"));
    }
    Ok(Some(name))
}
