//! A daemon with attackers of every kind, and a run that shows whether it is still held.

use agentid_tests::{
    attack::Attempt,
    harness::{Attacker, Daemon, Scene, scene::USER},
};
use anyhow::{Result, ensure};

/// Whether the daemon is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    Dead,
}

pub struct Stage {
    /// Dropped before the daemon, which they belong to.
    pub root: Attacker,
    pub user: Attacker,
    /// Root outside of any run.
    pub outside: Attacker,
    witness: Attacker,
    pub daemon: Daemon,
}

impl Stage {
    pub fn new() -> Result<Self> {
        Self::on(Attacker::scene()?)
    }

    pub fn on(scene: Scene) -> Result<Self> {
        let daemon = Daemon::start_in(scene)?;
        Ok(Self {
            root: Attacker::inside(&daemon, 0)?,
            user: Attacker::inside(&daemon, USER)?,
            outside: Attacker::outside(0)?,
            witness: Attacker::inside(&daemon, USER)?,
            daemon,
        })
    }

    /// Does it with the daemon alive, and again with the daemon dead.
    pub fn in_life_and_death(
        &mut self,
        mut act: impl FnMut(&mut Self, Life) -> Result<()>,
    ) -> Result<()> {
        act(self, Life::Alive)?;
        self.daemon.kill9()?;
        act(self, Life::Dead)
    }

    /// That a run is denied what it was denied, and granted what it was granted.
    pub fn check_held(&mut self, after: &str) -> Result<()> {
        let scene = self.daemon.scene();
        let opens = [(scene.denied(), libc::EACCES), (scene.granted(), 0)];
        for (path, expected) in opens {
            let errno = self.witness.errno(&Attempt::Read(path.clone()))?;
            ensure!(errno == expected, "{errno} for {} after {after}", path.display());
        }
        Ok(())
    }
}
