//! What a test can ask of the probe, and what it answers: one JSON object in each line, a question at a time.
//!
//! The probe does nothing between two questions, so a test decides what happens before, while and after.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{handle::Handle, power::Power};

/// One thing that the probe does, inside its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Nothing: the probe is alive and answers.
    Ping,
    /// Steps that have an errno, one after another, whatever becomes of each.
    Each(Vec<Step>),
    /// Asks the daemon, at this socket, to end its own run for a reason. Where the policy kills there is no answer.
    EndOneself {
        socket: PathBuf,
        reason: String,
    },
    /// Uses a capability.
    Exercise(Power),
    Open {
        path: PathBuf,
        how: Open,
    },
    /// Changes a folder.
    Change(Change),
    /// Opens a file and keeps it, in place of the one that was kept before.
    Keep {
        path: PathBuf,
        how: Open,
    },
    /// Opens the kept file once more, by its link in procfs.
    OpenKept(Open),
    /// Opens a file by a path that begins in the kept folder.
    OpenBelowKept {
        path: PathBuf,
        how: Open,
    },
    /// Opens a file for reading by its handle, on the filesystem of this folder.
    OpenByHandle {
        folder: PathBuf,
        handle: Handle,
    },
    /// Changes a file without opening it.
    Alter {
        what: Alter,
        file: Target,
    },
    /// Reads an extended attribute of a file.
    ReadAttribute {
        path: PathBuf,
        name: String,
    },
    /// Writes to the kept file.
    WriteKept,
    /// Lists a folder.
    List(PathBuf),
    /// Has the kernel tell what others open in a folder.
    Watch(PathBuf),
    /// Has the kernel tell what becomes of a file, or of what is in a folder (inotify).
    Follow(PathBuf),
    /// Takes what was opened, with a descriptor of it.
    ReadWatched,
    /// Sets an extended attribute by io_uring, with credentials that were the probe's and are lent for it.
    AlterLent(PathBuf),
    /// Maps memory in this way.
    Map(Mapping),
    /// An ioctl with an argument of zeros.
    Ioctl {
        on: Thing,
        command: u32,
    },
    /// An ioctl of the 32-bit interface, without an argument.
    NarrowIoctl {
        on: Thing,
        command: u32,
    },
    /// Opens one of everything that [`Use`] is about, and keeps it: two files, and the folder of the first.
    Hold {
        file: PathBuf,
        other: PathBuf,
    },
    /// Uses what is held.
    Use(Use),
    /// Starts a process that never gives the processor back by itself, and makes no system call.
    Spin,
    /// Starts a process that starts another one and ends, which does the same, until there is such a file.
    Hop(PathBuf),
    /// Starts a process that waits for a byte from a fifo, which somebody has open for writing.
    Block(PathBuf),
    /// Starts a process that reads a byte from such a fifo, and ends if it cannot read another one.
    ReadTwice(PathBuf),
    /// Maps a file for reading and writing, and keeps that in place of what was mapped so before.
    MapShared(PathBuf),
    /// Writes a word where the file is mapped, without any system call.
    WriteMapped,
    /// Starts a process that waits for nothing.
    Pause,
    /// Takes one message from the socket that is the standard error.
    Receive,
    /// Takes the standard error from itself, as another process would (`pidfd_getfd`).
    Fetch,
    /// Executes a file in a child. What the file does once it runs is of no interest.
    Exec(PathBuf),
    /// The same with these arguments behind its name.
    ExecWith {
        path: PathBuf,
        arguments: Vec<String>,
    },
    /// Executes the kept file in a child, whatever its name is now.
    ExecKept,
    /// Executes a file that exists in memory alone. Its contents are no program, which is found out late.
    ExecMemory,
    /// Asks the kernel whether the kept file may be executed, as an interpreter does before it reads a script.
    CheckKept,
    /// The same of a file that exists in memory alone.
    CheckMemory,
    /// By UDP a byte is sent as well.
    Connect {
        to: SocketAddr,
        protocol: Protocol,
    },
    /// Connects with an address of this family that is cut off after so many bytes.
    ConnectShort {
        family: Family,
        length: u32,
    },
    Unix(Unix),
    /// Messages of these kinds to the kernel, in one call, each of them as long as a head and eight bytes.
    Netlink {
        protocol: i32,
        kinds: Vec<u16>,
    },
    /// A message to the kernel whose head tells another length than it has.
    NetlinkTorn(u32),
    /// Asks the C library for the addresses of this host.
    Interfaces,
    /// Asks a server for a name.
    Resolve(Question),
    /// Asks so many times over UDP, and then reads the answers.
    ResolveMany {
        question: Question,
        times: usize,
    },
    /// Asks without an end, and without waiting for an answer: over UDP as fast as it can, and over TCP in as many connections
    /// as it can hold, none of which asks a whole question.
    AskMuch(Question),
    /// Connects, and keeps the socket in place of the one that was kept before.
    Call {
        to: SocketAddr,
        protocol: Protocol,
    },
    /// Listens, and tells nobody but the test, which connects: the connection is kept as well.
    Answer(SocketAddr),
    /// Takes the connection that [`Step::Answer`] waits for.
    PickUp,
    /// Sends one byte on the kept socket.
    Say,
    /// Sends on the kept socket until it takes no more.
    Flood,
    /// Whether something has come in on the kept socket: 0, or `EAGAIN`.
    Hear,
    /// Calls on sockets, one after the other, whatever becomes of each. The sockets are kept by number until another one
    /// has their number.
    Sockets(Vec<Call>),
    /// Starts a task in this way; that task opens the file for reading.
    Inherit {
        way: Way,
        path: PathBuf,
    },
    /// Starts so many tasks one after another, in all ways in turn; each opens the file for reading.
    Storm {
        tasks: u32,
        path: PathBuf,
    },
    /// Starts so many processes that wait, until the probe ends.
    Park(u32),
    /// Opens the files for reading again and again, in a thread of its own, until [`Step::EndLoop`].
    BeginLoop(Vec<PathBuf>),
    /// How the opens of the loop went up to now.
    Count,
    /// Ends the loop; how its opens went.
    EndLoop,
    /// Starts a process that writes to so many MiB of memory, and waits for it.
    Fill(usize),
    /// Starts a process in another cgroup.
    Leave(PathBuf),
}

/// Something done with a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unix {
    Connect {
        to: Name,
        kind: Kind,
    },
    /// The same by io_uring.
    ConnectByRing(Name),
    /// Sends a datagram to an address, without connecting.
    SendTo(Name),
    /// Binds a socket to this name, connects to it, and passes a byte.
    Own {
        name: Name,
        kind: Kind,
    },
    /// Binds a socket of streams to this name, and keeps it listening.
    Listen(Name),
    /// Makes a pair, and passes a byte.
    Pair(Kind),
    /// Sends a byte on the socket that is the standard error.
    SendHanded,
    /// Makes a socket, and nothing with it.
    Make,
    /// Connects, and keeps the socket in place of the one that was kept before.
    Call(Name),
}

/// The name of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Name {
    Path(PathBuf),
    Abstract(String),
    /// One that the kernel chooses.
    Chosen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Stream,
    Packets,
    Datagram,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Folder(PathBuf),
    Fifo(PathBuf),
    /// The node of `/dev/null`'s number.
    Device(PathBuf),
    /// A socket, bound to this path.
    Socket(PathBuf),
    Symlink(PathBuf),
    /// One that leads somewhere.
    SymlinkTo {
        target: PathBuf,
        at: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    /// The same from a descriptor that was opened with `O_PATH`.
    LinkDescriptor {
        from: PathBuf,
        to: PathBuf,
    },
    /// Gives a file that was made without a name in this folder a name.
    LinkTemporary {
        folder: PathBuf,
        to: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Exchange {
        from: PathBuf,
        to: PathBuf,
    },
    Whiteout {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink(PathBuf),
    Rmdir(PathBuf),
    /// A message queue of this name, which begins with a slash (mq_open).
    Queue(PathBuf),
    /// The message queue of this name goes (mq_unlink).
    RemoveQueue(PathBuf),
    /// The length and the mode of a file that exists in memory alone.
    Memory,
}

/// A change of a file that needs no open. All but the length can be had through any descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alter {
    Length,
    Mode,
    Owner,
    Times,
    SetAttribute(String),
    RemoveAttribute(String),
    /// The ACL that says what the mode says.
    SetAcl,
    RemoveAcl,
    /// By file_setattr(2), not by ioctl(2).
    Flags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Path(PathBuf),
    Kept,
}

/// What an ioctl is used on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thing {
    /// A file or a folder, opened for reading.
    Path(PathBuf),
    /// A file, opened for writing.
    Writable(PathBuf),
    /// The controlling end of a new terminal.
    Terminal,
    Socket,
    Pipe,
    /// A file of memory.
    Memory,
    /// A counter of events.
    Counter,
}

/// What can be done with what is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Use {
    ReadFile,
    WriteFile,
    ReadAt,
    WriteAt,
    ReadFolder,
    SendFile,
    SpliceFromFile,
    SpliceToFile,
    CopyRange,
    Allocate,
    Map,
    Ioctl,
    WritePipe,
    ReadPipe,
    WriteCounter,
    ReadCounter,
    WriteTerminal,
    ReadTerminal,
    WriteSocket,
    ReadSocket,
    /// What had come before, by recv.
    ReceiveUnix,
    ReceiveTcp,
    ReceiveUdp,
    /// By recvmmsg.
    ReceiveMany,
    /// By io_uring.
    ReceiveByRing,
    AskSocket,
}

impl Use {
    pub const ALL: [Self; 26] = [
        Self::ReadFile,
        Self::WriteFile,
        Self::ReadAt,
        Self::WriteAt,
        Self::ReadFolder,
        Self::SendFile,
        Self::SpliceFromFile,
        Self::SpliceToFile,
        Self::CopyRange,
        Self::Allocate,
        Self::Map,
        Self::Ioctl,
        Self::WritePipe,
        Self::ReadPipe,
        Self::WriteCounter,
        Self::ReadCounter,
        Self::WriteTerminal,
        Self::ReadTerminal,
        Self::WriteSocket,
        Self::ReadSocket,
        Self::ReceiveUnix,
        Self::ReceiveTcp,
        Self::ReceiveUdp,
        Self::ReceiveMany,
        Self::ReceiveByRing,
        Self::AskSocket,
    ];
}

/// A file is opened for reading, and mapped for reading in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mapping {
    Readable(PathBuf),
    Executable(PathBuf),
    /// Made executable when it is mapped already.
    MadeExecutable(PathBuf),
    /// The same under a key of protection.
    MadeExecutableWithKey(PathBuf),
    /// Only readable, as far as the call says; the personality makes it executable.
    Implied(PathBuf),
    /// The same when it is mapped already.
    MadeImplied(PathBuf),
    /// A file of memory, executable.
    Memory,
    /// A file of memory, made executable when it is mapped already.
    MadeMemory,
    /// A file without a name in this folder, executable.
    Temporary(PathBuf),
    /// The same, made executable when it is mapped already.
    MadeTemporary(PathBuf),
    /// Memory of System V, executable.
    Shared,
    /// Memory that is no file's, executable from the beginning, and made so.
    Anonymous,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    Read,
    Write,
    /// A file that must not exist yet.
    Create,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A question for the addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub name: String,
    /// IPv6 addresses, else those of IPv4.
    pub v6: bool,
    pub server: SocketAddr,
    pub transport: Transport,
    /// Whether the question carries the extension by which errors are explained.
    pub edns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    Udp,
    /// Each message carries the server's address.
    UdpUnconnected,
    Tcp,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Udp, Self::UdpUnconnected, Self::Tcp];
}

/// A call on a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The socket's number.
    pub on: usize,
    pub what: Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Makes the socket, by io_uring or not.
    Make {
        family: i32,
        kind: i32,
        protocol: i32,
        by: By,
    },
    /// Takes the standard error for the socket.
    Adopt,
    Connect {
        to: SockAddr,
        by: By,
    },
    Bind(SockAddr),
    Listen,
    /// Without waiting; what comes is closed again.
    Accept,
    /// One byte.
    Send {
        to: Option<SockAddr>,
        flags: i32,
        carry: Vec<Carry>,
        by: By,
    },
    /// A whole echo request, and the wait for its answer.
    Echo {
        to: Option<SockAddr>,
    },
    /// Two messages of a byte in one sendmmsg(2); the second carries something.
    SendTwo {
        to: Option<SockAddr>,
        carry: Vec<Carry>,
    },
    Set {
        level: i32,
        option: i32,
        value: Vec<u8>,
    },
    /// In the place of an errno, the port that the socket has.
    Port,
}

/// Who asks the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    Call,
    Ring,
}

/// An address as a call is given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockAddr {
    pub at: SocketAddr,
    /// The family that stands in it, where that is not its own.
    pub family: Option<u16>,
}

impl From<SocketAddr> for SockAddr {
    fn from(at: SocketAddr) -> Self {
        Self { at, family: None }
    }
}

/// What travels with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    pub level: i32,
    pub kind: i32,
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    V4,
    V6,
}

/// The ways in which a task comes to be, or becomes another one, that must not shake off its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    Fork,
    /// `CLONE_VM | CLONE_VFORK`
    Vfork,
    Thread,
    Clone3,
    /// The child of a child that has exited, in a session of its own.
    Orphan,
    /// A child that executes the probe anew.
    Exec,
    /// A child that becomes nobody.
    Setuid,
    /// A child in mount and process namespaces of its own.
    Namespaces,
    /// A child with the root folder as its root folder anew.
    Chroot,
    /// A kernel thread that works for io_uring.
    IoUring,
}

impl Way {
    pub const ALL: [Self; 10] = [
        Self::Fork,
        Self::Vfork,
        Self::Thread,
        Self::Clone3,
        Self::Orphan,
        Self::Exec,
        Self::Setuid,
        Self::Namespaces,
        Self::Chroot,
        Self::IoUring,
    ];

    /// Whether only root can go this way.
    pub const fn needs_root(self) -> bool {
        matches!(self, Self::Setuid | Self::Chroot | Self::Namespaces)
    }
}

/// An answer of the probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The first line: the probe is there, and this is what it was told about its run.
    Hello { run: Option<String> },
    /// 0, or why it did not work.
    Errno(i32),
    /// The errno of each call, or of each step, 0 for success.
    Calls(Vec<i32>),
    /// So many descriptors came with a message, and whether there were more.
    Received { descriptors: usize, truncated: bool },
    /// What a server has answered.
    Named {
        /// The code of the response, such as 3 for a name that does not exist.
        code: u16,
        addresses: Vec<IpAddr>,
        /// How many seconds the answers are good for at most.
        longest: Option<u32>,
        truncated: bool,
        /// The code of the extended error, if there is one.
        extended: Option<u16>,
        /// Where the answer came from, as far as the probe can see.
        from: SocketAddr,
    },
    /// What a server has answered to each of many questions: the code of the response, and that of the extended error.
    Answers(Vec<(u16, Option<u16>)>),
    /// How often each errno came; 0 is success.
    Tally(BTreeMap<i32, u64>),
    /// A process was started, and has this number.
    Process(u32),
    /// The way there did not work, so nothing was tried: where it stopped, and with which errno.
    NotTried { at: String, errno: i32 },
    /// What was started was ended by this signal.
    Killed(i32),
}
