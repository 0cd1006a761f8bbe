//! What a test has a crowd do: processes that are each the first of a run of its own, and cost little.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing for a crowd to do. `launch` is the body of a request for a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Becomes larger by so many runs, launched one after another: [`Report::Launched`].
    Launch { socket: PathBuf, launch: Value, times: usize },
    /// Each opens the file for reading: [`Report::Opened`].
    Open(PathBuf),
    /// So many times one after another: a run is launched, and ends by itself at once: [`Report::Launched`].
    Job { socket: PathBuf, launch: Value, times: usize },
    /// So many times one after another: a run is launched, and revoked by somebody outside: [`Report::Cycled`].
    Cycle { socket: PathBuf, launch: Value, times: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The crowd is there, and empty.
    Ready,
    Launched(Vec<Launched>),
    /// How often each errno came, 0 for success; the others are dead.
    Opened {
        errnos: BTreeMap<i32, usize>,
        dead: usize,
    },
    Cycled(Vec<Cycle>),
    Failed(String),
}

/// How long each part of a cycle took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    pub launch: u64,
    /// From when the daemon was asked until the kernel denied everything, as it says itself.
    pub denial: u64,
    /// From when it was asked for until the last task was gone and that was answered.
    pub revocation: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    pub id: String,
    /// From before its process was started until the daemon's answer was there.
    pub took: Duration,
}
