//! The life of a run, as `Phase` and `Ending` tell it.
//!
//! ```text
//!            ┌─suspend─▶ Suspended ─┐
//!   launch ──▶ Active ◀────resume───┤
//!                 ├─────────────────┴──revoke, deadline, loss──▶ Stopping ──last task gone──▶ Ended
//!                 └──────────────────last task gone (completed)──────────────────────────────▲
//! ```
//!
//! Only a resumption leads back, and only from `Suspended`. The kernel's own [`State`] follows: a suspended or stopping
//! run has left `ACTIVE`, an ended one has no slot.

use agentid_common::instance::State;
use serde::{Deserialize, Serialize};

/// Why a run is over. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its last task has exited.
    Completed,
    /// Somebody ended it.
    Revoked,
    /// Its deadline has passed.
    Expired,
    /// It went beyond a limit of its policy.
    LimitExceeded,
    /// It met a rule that is a tripwire.
    Tripwire,
    /// The run above it has ended.
    ParentEnded,
    /// The kernel no longer enforced, and the operator chose to stop what runs.
    EnforcementLost,
    /// It was alive when the kernel was last up.
    LostAtBoot,
    /// The launch did not go through after the slot was given.
    LaunchFailed,
}

impl Ending {
    pub const ALL: &'static [Self] = &[
        Self::Completed,
        Self::Revoked,
        Self::Expired,
        Self::LimitExceeded,
        Self::Tripwire,
        Self::ParentEnded,
        Self::EnforcementLost,
        Self::LostAtBoot,
        Self::LaunchFailed,
    ];

    /// The name in output, records and the state files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::LimitExceeded => "limit_exceeded",
            Self::Tripwire => "tripwire",
            Self::ParentEnded => "parent_ended",
            Self::EnforcementLost => "enforcement_lost",
            Self::LostAtBoot => "lost_at_boot",
            Self::LaunchFailed => "launch_failed",
        }
    }

    /// What the slot says from the moment of the ending on.
    pub const fn slot_state(self) -> State {
        match self {
            Self::Completed => State::COMPLETED,
            Self::Expired => State::EXPIRED,
            Self::Revoked
            | Self::LimitExceeded
            | Self::Tripwire
            | Self::ParentEnded
            | Self::EnforcementLost
            | Self::LostAtBoot
            | Self::LaunchFailed => State::REVOKED,
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Active,
    /// Denied everything until it is resumed; its tasks are left alone.
    Suspended,
    /// Denied everything; tasks of it may still exist.
    Stopping(Ending),
    /// No task of it exists.
    Ended(Ending),
}

impl Phase {
    /// Every name a phase can have; the closed label of the metric of live runs leaves the last out.
    pub const NAMES: [&'static str; 4] = ["active", "suspended", "stopping", "ended"];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => Self::NAMES[0],
            Self::Suspended => Self::NAMES[1],
            Self::Stopping(_) => Self::NAMES[2],
            Self::Ended(_) => Self::NAMES[3],
        }
    }

    /// Whether the run has not ended, and may yet do something.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Suspended)
    }

    /// Whether the run still has its slot.
    pub const fn holds_slot(self) -> bool {
        matches!(self, Self::Active | Self::Suspended | Self::Stopping(_))
    }

    /// What the slot says; a run that has ended has none.
    pub const fn slot_state(self) -> State {
        match self {
            Self::Active => State::ACTIVE,
            Self::Suspended => State::SUSPENDED,
            Self::Stopping(ending) => ending.slot_state(),
            Self::Ended(_) => State::FREE,
        }
    }

    pub const fn ending(self) -> Option<Ending> {
        match self {
            Self::Active | Self::Suspended => None,
            Self::Stopping(ending) | Self::Ended(ending) => Some(ending),
        }
    }
}
