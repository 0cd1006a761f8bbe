//! What a test has an attacker try, inside a run or outside of any, and what became of it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::power::Power;

/// One thing that an attacker tries. All but the last four are answered with [`Found::Errno`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// Uses a capability.
    Exercise(Power),
    /// Opens a file for reading.
    Read(PathBuf),
    /// Writes a text into a file that is there.
    Write {
        path: PathBuf,
        text: String,
    },
    /// The same below a procfs and in a mount namespace of its own. `path` begins below `/proc`.
    WriteInOwnProc {
        path: PathBuf,
        text: String,
    },
    Unmount {
        path: PathBuf,
        lazily: bool,
    },
    /// Mounts a tmpfs over a folder.
    MountOver(PathBuf),
    /// Moves a mount with `mount`.
    Move {
        from: PathBuf,
        onto: PathBuf,
    },
    /// Moves a mount with `move_mount`.
    MoveTree {
        from: PathBuf,
        onto: PathBuf,
    },
    /// Gives the filesystem at a mount the options that it has.
    Reconfigure(PathBuf),
    /// Makes the root of the mounts what it is.
    PivotRoot,
    Unlink(PathBuf),
    Rmdir(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// Renames both to each other's name.
    Exchange {
        one: PathBuf,
        other: PathBuf,
    },
    /// A command of `bpf`, with nothing but zeroes for it.
    Bpf(u32),
    /// Detaches a pinned link, which stays pinned.
    Detach(PathBuf),
    Kill {
        tgid: u32,
        signal: i32,
    },
    /// The same through a process descriptor.
    PidfdKill {
        tgid: u32,
        signal: i32,
    },
    /// Tells the kernel how to run a process, as it is run already.
    Manage {
        tgid: u32,
        what: Management,
    },
    /// Has a file of its own send SIGKILL to a process, and gives it reason to.
    SignalByFile {
        tgid: u32,
        way: Owner,
    },
    /// Has a file of its own send a signal to itself, gives it reason to, and waits for it.
    SignalOneself,
    /// Makes something of whoever the owner of its standard input is.
    SignalOwner(Means),
    /// Becomes the tracer of a process.
    Trace(u32),
    /// Has its parent trace it.
    BeTraced,
    /// Has a child be traced by it, lets it go, and waits for its end.
    TraceChild,
    /// Starts a task that is its parent's child, and ends at once.
    StartSibling,
    /// Reads a process's memory with `process_vm_readv`.
    ReadMemory(u32),
    /// Takes descriptor 0 of a process.
    TakeDescriptor(u32),
    /// Sends bytes to a Unix socket and reads until its other end closes it: [`Found::Text`].
    Say {
        socket: PathBuf,
        bytes: String,
    },
    /// Connects so often to a Unix socket, says nothing, and keeps the connections.
    Crowd {
        socket: PathBuf,
        count: usize,
    },
    /// As [`Self::Say`], as another user, in a group beside its own, and in namespaces of its own for processes and mounts.
    SayElsewhere {
        uid: u32,
        group: u32,
        socket: PathBuf,
        bytes: String,
    },
    /// Opens files again and again from several threads: [`Found::Verdicts`].
    Hammer {
        granted: Vec<PathBuf>,
        denied: Vec<PathBuf>,
        threads: usize,
        effort: Effort,
    },
    /// Opens `name` in a folder again and again, wherever the folder is moved to: [`Found::Verdicts`], in which every
    /// open that goes well is wrong.
    Chase {
        folder: PathBuf,
        name: PathBuf,
        effort: Effort,
    },
}

/// What the kernel can be told of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Management {
    /// A limit on its open files.
    Limit,
    Priority,
    Scheduler,
    Processors,
    InputPriority,
    /// On which nodes its memory lies.
    Memory,
}

impl Management {
    pub const ALL: [Self; 6] = [
        Self::Limit,
        Self::Priority,
        Self::Scheduler,
        Self::Processors,
        Self::InputPriority,
        Self::Memory,
    ];
}

/// How a process is made the owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    Process,
    /// As a group of processes.
    Group,
    /// By what the argument points to.
    Named,
    /// Whoever is in front of a new terminal, without a word about him.
    Terminal,
}

impl Owner {
    pub const ALL: [Self; 4] = [Self::Process, Self::Group, Self::Named, Self::Terminal];
}

/// How a file's owner is sent a signal that nobody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Means {
    Signal,
    Flag,
    Ioctl,
    Lease,
    Watch,
}

impl Means {
    pub const ALL: [Self; 5] = [Self::Signal, Self::Flag, Self::Ioctl, Self::Lease, Self::Watch];
}

/// How long something is done again and again: until the time is over and so many have gone as they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    pub time: Duration,
    pub at_least: u64,
}

/// What became of an [`Attempt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// The first line: the attacker is there, and this is what it was told about its run.
    Hello {
        run: Option<String>,
    },
    /// 0, or why it did not work.
    Errno(i32),
    Text(String),
    Verdicts(Verdicts),
}

/// How many opens went as they should, and which did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    pub right: u64,
    /// By errno (0 is success) and path.
    pub wrong: BTreeMap<String, u64>,
}
