//! The instance table: one slot for each run that lives on this host.

use crate::{capability::Capabilities, tag::InvocationId, verdict::Mode};

/// "No slot": the parent of a run that nobody delegated.
pub const NO_SLOT: u32 = u32::MAX;

/// Most runs that a chain of delegation may hold, the run itself included.
pub const MAX_ANCESTRY: u32 = 4;

/// A deadline that never comes; only the daemon's own canary has it.
pub const NO_DEADLINE: u64 = u64::MAX;

/// Where an instance stands. Only [`State::ACTIVE`] permits anything.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State(pub u32);

impl State {
    /// The slot holds no run.
    pub const FREE: Self = Self(0);
    pub const ACTIVE: Self = Self(1);
    pub const SUSPENDED: Self = Self(2);
    /// Ended by an operator.
    pub const REVOKED: Self = Self(3);
    /// Ended because its root process and all others are gone.
    pub const COMPLETED: Self = Self(4);
    /// Ended by its deadline, as the daemon noted it. The hooks do not wait for this: they compare the deadline.
    pub const EXPIRED: Self = Self(5);
}

/// What happens to a task that meets a hook after its run has ended.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ladder(pub u32);

impl Ladder {
    /// The operation is denied and the task goes on.
    pub const DENY: Self = Self(0);
    /// The operation is denied and the task is killed.
    pub const KILL: Self = Self(1);
    /// The operation is denied and the task goes on, until the daemon has it stand still.
    pub const FREEZE: Self = Self(2);
}

/// One slot of the table; written by the daemon only.
///
/// Ending a run is one store to `state`. The whole value is cleared when the last task is gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// Which run holds the slot; 0 when none does. Never used twice on a host.
    pub generation: u64,
    /// End of the run in nanoseconds of `CLOCK_BOOTTIME`, which goes on during suspend.
    pub deadline: u64,
    /// Scope of the policy's entries and rules.
    pub policy: u64,
    /// Scope of the entries that the run's parameters add.
    pub params: u64,
    /// Proof that both scopes were written together: see [`Self::bound_to`].
    pub bond: u64,
    /// The capabilities that the policy leaves to the run; see [`crate::capability`].
    pub capabilities: Capabilities,
    /// Generation that the parent's slot must still have.
    pub parent_generation: u64,
    /// Slot of the run that delegated to this one, or [`NO_SLOT`].
    pub parent: u32,
    pub state: State,
    pub mode: Mode,
    pub ladder: Ladder,
    pub invocation: InvocationId,
    /// 1 when the policy grants host names, so that the daemon is asked for them; else 0.
    pub names: u32,
    pub reserved: u32,
}

impl Instance {
    /// The same run, held by these rules. A live run is given others while its tasks go on: who reads a slot just then
    /// may find one scope of before and one of after, which together are nobody's rules, and no longer fit the bond.
    pub const fn bound_to(self, policy: u64, params: u64) -> Self {
        Self { policy, params, bond: policy ^ params, ..self }
    }

    /// The two scopes, unless they are being written.
    #[inline(always)]
    pub const fn scopes(&self) -> Option<(u64, u64)> {
        let Self { policy, params, bond, .. } = *self;
        if policy ^ params == bond { Some((policy, params)) } else { None }
    }
}

/// What the hooks write about a slot; read by the daemon, reset by it before a run is given the slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Number of the next record of this run, from 0. Taken before the ring is asked, so a lost record is a gap.
    pub sequence: u64,
    /// Tasks alive.
    pub live: u64,
    /// Tasks ever started, the first included.
    pub started: u64,
    pub allowed: u64,
    pub denied: u64,
    pub faults: u64,
    /// Records that found the ring full.
    pub lost: u64,
    /// How often it has met a tripwire, recorded or not.
    pub tripped: u64,
}
