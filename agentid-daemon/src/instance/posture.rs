//! What this host really enforces now, proved by denied operations rather than by what is attached.

use std::fmt;

/// The daemon's answer to "does the kernel hold the runs?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posture {
    /// The canary was denied a real open and a real connect, by our programs.
    Enforcing,
    /// The canary was denied both, but something that is wanted is missing.
    Degraded(String),
    /// The canary was not denied, or could not ask.
    Off(String),
}

impl Posture {
    /// Every posture's name, in the order of worsening; the closed label of its metric.
    pub const NAMES: [&'static str; 3] = ["enforcing", "degraded", "off"];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Enforcing => Self::NAMES[0],
            Self::Degraded(_) => Self::NAMES[1],
            Self::Off(_) => Self::NAMES[2],
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Enforcing => None,
            Self::Degraded(why) | Self::Off(why) => Some(why),
        }
    }

    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off(_))
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why() {
            Some(why) => write!(f, "{}: {why}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}
