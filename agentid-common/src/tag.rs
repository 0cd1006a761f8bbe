//! The mark that each task of a run carries in BPF task local storage.

/// Public name of one run: a UUIDv7 in its 16 bytes, minted once and never used again.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvocationId(pub [u8; 16]);

/// A task's membership in an instance, and a socket's: which run has made it.
///
/// The slot finds the instance, the generation proves that the slot still belongs to the run that the task was
/// started in: a slot that was given to another run has another generation, and the tag is then a revoked one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    pub generation: u64,
    pub slot: u32,
    /// [`COUNTED`] for tasks; [`LISTENS`], [`ANYWHERE`], [`CALLED`], [`ASKS`],
    /// [`ASKED`] and [`CALLS`] for sockets.
    pub mark: u32,
    pub invocation: InvocationId,
}

impl Tag {
    /// As much of a tag as tells of which run it is.
    #[inline(always)]
    pub const fn of_run(slot: u32, generation: u64) -> Self {
        Self { generation, slot, mark: 0, invocation: InvocationId([0; 16]) }
    }

    /// Whether both are of one run.
    #[inline(always)]
    pub const fn is_of_the_run_of(&self, other: &Self) -> bool {
        self.generation == other.generation && self.slot == other.slot
    }
}

/// Value of [`Tag::mark`] for a task that the live count of its instance includes.
pub const COUNTED: u32 = 1;

/// Bit of [`Tag::mark`] for a socket from which the daemon's resolver can be reached, as it was made in the daemon's network
/// namespace. It stays.
pub const ASKS: u32 = 4;

/// Bit of [`Tag::mark`] for a socket of TCP that was let go to a server of names: it is the daemon's resolver that it has to
/// get to. It stays.
pub const ASKED: u32 = 8;

/// Bit of [`Tag::mark`] for a socket that listens, and for one that was accepted: who is at the other end has come by
/// himself.
pub const LISTENS: u32 = 2;

/// Bit of [`Tag::mark`] beside [`LISTENS`] for a socket that listens at every address, and for one that was accepted there: it
/// has one of them, but it was for all that the rules were asked.
pub const ANYWHERE: u32 = 64;

/// Bit of [`Tag::mark`] for a socket of TCP that has gone to a peer by itself, and for one that was accepted where such a one
/// listened. It stays, whatever another thread does meanwhile: then [`LISTENS`] says nothing.
pub const CALLED: u32 = 32;

/// Bit of [`Tag::mark`] for the daemon's end of a connection to its control socket: the run has not made it, but is at the
/// other end.
pub const CALLS: u32 = 16;

/// Value of [`Tag::slot`] for the daemon's own tasks: no run, but the one process that may handle agentid's objects.
pub const KEEPER_SLOT: u32 = u32::MAX - 1;
