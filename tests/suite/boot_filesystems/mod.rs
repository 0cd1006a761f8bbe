//! Filesystems that name, number, show or keep files in ways of their own. What is not clear there is denied.

mod btrfs;
mod folding;
mod fuse;
mod handles;
mod images;
mod made;
mod places;

use std::path::{Path, PathBuf};

use agentid_tests::{
    harness::{Daemon, Place, Run, Shared, run::Terms, view::What, wait},
    step::{Open, Step},
};
use anyhow::Result;

/// A run of each of these users in one workspace, that nobody else uses.
struct Stage {
    /// Dropped before the daemon, which they belong to.
    runs: Vec<Run>,
    daemon: Shared,
    work: PathBuf,
    outside: PathBuf,
    place: Place,
}

impl Stage {
    fn new(users: &[u32]) -> Result<Self> {
        Self::with_policy("fixture", users)
    }

    fn with_policy(policy: &str, users: &[u32]) -> Result<Self> {
        let daemon = Daemon::shared()?;
        let place = Place::below(daemon.scene().path())?;
        let (work, outside) = (place.workspace(), place.outside());
        let runs = users.iter().map(|&uid| {
            let terms = Terms { policy, uid, workspace: Some(&work), ..Terms::default() };
            Run::launch(&daemon, &terms)
        });
        Ok(Self { runs: runs.collect::<Result<_>>()?, daemon, work, outside, place })
    }
}

fn open(path: &Path, how: Open) -> Step {
    Step::Open { path: path.to_owned(), how }
}

/// Waits until the rules hold on what is mounted at a folder that is granted.
fn await_rules(run: &mut Run, folder: &Path) -> Result<()> {
    let listed = || Ok((run.errno(&Step::List(folder.to_owned()))? == 0).then_some(()));
    wait::until("the rules hold on what is mounted there", wait::SOON, listed)
}

/// Waits until an open of the run is recorded as denied for this reason.
fn await_reason(daemon: &Daemon, run: &Run, reason: &str) -> Result<()> {
    wait::until(&format!("an open is denied: {reason}"), wait::SOON, || {
        let found = daemon.events(run.id())?.into_iter().any(|event| match event.what {
            What::Access(access) => {
                access.hook == "file_open" && access.reason.as_deref() == Some(reason)
            }
            What::Stopped(_) | What::Ended(_) | What::Other => false,
        });
        Ok(found.then_some(()))
    })
}
