//! The closed lists that decisions, counters, records and metrics speak in.

macro_rules! closed {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal,)* }) => {
        $(#[$meta])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// One more than the highest number.
            pub const END: u32 = {
                let (mut end, mut index) = (0, 0);
                while index < Self::ALL.len() {
                    if Self::ALL[index] as u32 >= end {
                        end = Self::ALL[index] as u32 + 1;
                    }
                    index += 1;
                }
                end
            };

            /// The name in metrics, records and output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The member with this number, if there is one.
            pub const fn from_u32(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

closed! {
    /// The kernel's points at which we are asked.
    Hook {
        TaskAlloc = 0 => "task_alloc",
        FileOpen = 1 => "file_open",
        BprmCheckSecurity = 2 => "bprm_check_security",
        SocketConnect = 3 => "socket_connect",
        Bpf = 4 => "bpf",
        TaskKill = 5 => "task_kill",
        PtraceAccessCheck = 6 => "ptrace_access_check",
        SbUmount = 7 => "sb_umount",
        SbMount = 8 => "sb_mount",
        MoveMount = 9 => "move_mount",
        InodeUnlink = 10 => "inode_unlink",
        InodeRmdir = 11 => "inode_rmdir",
        InodeRename = 12 => "inode_rename",
        Sysctl = 13 => "sysctl",
        Exit = 14 => "exit",
        PathUnlink = 15 => "path_unlink",
        PathRmdir = 16 => "path_rmdir",
        PathMkdir = 17 => "path_mkdir",
        PathMknod = 18 => "path_mknod",
        PathSymlink = 19 => "path_symlink",
        PathLink = 20 => "path_link",
        PathRename = 21 => "path_rename",
        InodeSetattr = 22 => "inode_setattr",
        InodeSetxattr = 23 => "inode_setxattr",
        InodeRemovexattr = 24 => "inode_removexattr",
        InodeSetAcl = 25 => "inode_set_acl",
        InodeRemoveAcl = 26 => "inode_remove_acl",
        InodeFileSetattr = 27 => "inode_file_setattr",
        MmapFile = 28 => "mmap_file",
        FileMprotect = 29 => "file_mprotect",
        FileIoctl = 30 => "file_ioctl",
        FileIoctlCompat = 31 => "file_ioctl_compat",
        FileReceive = 32 => "file_receive",
        SocketCreate = 33 => "socket_create",
        SocketBind = 34 => "socket_bind",
        SocketListen = 35 => "socket_listen",
        SocketAccept = 36 => "socket_accept",
        SocketSendmsg = 37 => "socket_sendmsg",
        SocketSetsockopt = 38 => "socket_setsockopt",
        SocketPostCreate = 40 => "socket_post_create",
        SocketSocketpair = 41 => "socket_socketpair",
        UnixStreamConnect = 42 => "unix_stream_connect",
        UnixMaySend = 43 => "unix_may_send",
        NetlinkSend = 44 => "netlink_send",
        SkbIngress = 45 => "skb_ingress",
        SkbEgress = 46 => "skb_egress",
        FilePermission = 47 => "file_permission",
        SchedSwitch = 48 => "sched_switch",
        Capable = 49 => "capable",
        UsernsCreate = 50 => "userns_create",
        FileFcntl = 51 => "file_fcntl",
        SocketRecvmsg = 52 => "socket_recvmsg",
        SocketGetsockopt = 53 => "socket_getsockopt",
        TaskSetnice = 54 => "task_setnice",
        TaskSetioprio = 55 => "task_setioprio",
        TaskSetscheduler = 56 => "task_setscheduler",
        TaskMovememory = 57 => "task_movememory",
        TaskSetrlimit = 58 => "task_setrlimit",
        PathNotify = 59 => "path_notify",
        PtraceTraceme = 60 => "ptrace_traceme",
        SbPivotroot = 61 => "sb_pivotroot",
        SbRemount = 62 => "sb_remount",
        InodeCreate = 63 => "inode_create",
        InodeGetxattr = 64 => "inode_getxattr",
        /// Decides nothing: its records say that a program was started.
        BprmCommittedCreds = 65 => "bprm_committed_creds",
    }
}

closed! {
    /// The answer as counters and records carry it.
    Verdict {
        Allow = 0 => "allow",
        /// Denied by the rules, and let pass because the run is in audit mode.
        Audit = 1 => "audit",
        Deny = 2 => "deny",
        /// Denied because no decision could be made.
        Fault = 3 => "fault",
    }
}

closed! {
    /// Why an operation is denied.
    Reason {
        None = 0 => "none",
        /// No rule allows it.
        NoRule = 1 => "no_rule",
        /// A rule denies it.
        DenyRule = 2 => "deny_rule",
        /// The tag's slot belongs to no run or to another one.
        NotLive = 3 => "not_live",
        Revoked = 4 => "revoked",
        Expired = 5 => "expired",
        Completed = 6 => "completed",
        Suspended = 7 => "suspended",
        /// A run above this one has ended.
        AncestorEnded = 8 => "ancestor_ended",
        /// The object belongs to agentid itself.
        Guarded = 9 => "guarded",
        /// The file lies on a filesystem that the policy does not know.
        UnknownFilesystem = 10 => "unknown_filesystem",
        /// The file's place cannot be told: its folder is not connected to the root of its filesystem.
        Disconnected = 11 => "disconnected",
        /// More folders above the file than the bound.
        TooDeep = 12 => "too_deep",
        /// Names in this folder are compared without regard to case, so a name proves nothing.
        CaseFolding = 13 => "case_folding",
        /// Execution of a file that has no place in a filesystem.
        AnonymousExec = 14 => "anonymous_exec",
        /// An address family that no rule can name.
        AddressFamily = 15 => "address_family",
        /// The other process is not part of this run.
        OutsideRun = 16 => "outside_run",
        /// Under its new name the file, or something in the folder, could be used in a way that it may not be used now.
        RightsGained = 17 => "rights_gained",
        /// A device node gives what its number stands for, wherever it lies.
        DeviceNode = 18 => "device_node",
        /// An ioctl that is not among those that may be used on files of this kind.
        Ioctl = 19 => "ioctl",
        /// A kind of socket that no rule can name.
        Protocol = 20 => "protocol",
        /// An option of a socket, or something that travels with a message, by which it would get elsewhere than where
        /// the rules look.
        SocketOption = 21 => "socket_option",
        /// A unix socket that the run has not made, and that lies nowhere.
        ForeignSocket = 22 => "foreign_socket",
        /// A message to the kernel that does not only read, or that no run needs.
        Netlink = 23 => "netlink",
        /// A capability that the policy does not leave to the run, or to a run above it.
        Capability = 24 => "capability",
        /// A user namespace, in which the run would have all capabilities.
        UserNamespace = 25 => "user_namespace",
        /// A rule denies it, and that anybody tried is enough to end the run.
        Tripwire = 26 => "tripwire",
        /// A task that is to start in a cgroup of the run's choice, where its limits would not hold.
        Cgroup = 27 => "cgroup",
    }
}

impl Reason {
    /// Whether the reason is the rules' answer, which audit mode lets pass, rather than the end of the run or the
    /// protection of agentid itself, which it does not.
    pub const fn is_policy(self) -> bool {
        match self {
            Self::NoRule
            | Self::DenyRule
            | Self::UnknownFilesystem
            | Self::Disconnected
            | Self::TooDeep
            | Self::CaseFolding
            | Self::AnonymousExec
            | Self::AddressFamily
            | Self::OutsideRun
            | Self::RightsGained
            | Self::DeviceNode
            | Self::Ioctl
            | Self::Protocol
            | Self::SocketOption
            | Self::ForeignSocket
            | Self::Netlink
            | Self::Capability
            | Self::UserNamespace
            | Self::Tripwire => true,
            Self::None
            | Self::NotLive
            | Self::Revoked
            | Self::Expired
            | Self::Completed
            | Self::Suspended
            | Self::AncestorEnded
            | Self::Guarded
            | Self::Cgroup => false,
        }
    }

    /// Whether the run is over for good, so that its tasks may be stopped.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Revoked | Self::Expired | Self::Completed | Self::AncestorEnded)
    }
}

closed! {
    /// Why no decision could be made.
    Fault {
        None = 0 => "none",
        /// The instance table gave no value for the tag's slot.
        InstanceLookup = 1 => "instance_lookup",
        /// More ancestors than [`crate::instance::MAX_ANCESTRY`], or a circle.
        Ancestry = 2 => "ancestry",
        /// The automaton lacks a state, an edge or a glob that another part of it leads to.
        StateLookup = 3 => "state_lookup",
        /// The folders above the file kept changing while they were read.
        Unstable = 4 => "unstable",
        /// A name or a pointer in the walk could not be read.
        WalkRead = 5 => "walk_read",
        /// The socket or the address could not be read.
        AddressRead = 6 => "address_read",
        /// The tag could not be given to a new task.
        TagStorage = 7 => "tag_storage",
        /// The kernel refused to run a loop.
        Loop = 8 => "loop",
        /// There is no memory for the walk.
        WorkStorage = 9 => "work_storage",
        /// The tag could not be given to a new socket.
        SocketStorage = 11 => "socket_storage",
        /// The run was given other rules at this very moment, twice.
        Rebound = 12 => "rebound",
    }
}

/// What a denial by rule does in one run.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Mode {
    pub const ENFORCE: Self = Self(0);
    /// Decide and record, and let pass.
    pub const AUDIT: Self = Self(1);
}

/// Number of a rule in its policy document, from 1; 0 is "no rule".
pub type Rule = u16;

/// Highest number of a rule. The bit above is [`TRIPWIRE`].
pub const MAX_RULE: Rule = 0x7fff;
/// Beside the number of a rule that denies, in the tables: the run that meets it is ended.
pub const TRIPWIRE: u16 = 0x8000;

/// Which of two rules that deny a record names, as their numbers stand in a table: a tripwire, else the first. 0 is none.
pub const fn telling(one: u16, other: u16) -> u16 {
    let is_one = match (one & TRIPWIRE != 0, other & TRIPWIRE != 0) {
        _ if other == 0 => true,
        _ if one == 0 => false,
        (true, false) => true,
        (false, true) => false,
        _ => one <= other,
    };
    if is_one { one } else { other }
}

/// Anything but yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Denied {
        reason: Reason,
        rule: Rule,
        /// How many steps above the run stands the one whose rules say so; 0 for its own.
        above: u8,
    },
    /// A socket that no rule can grant. The reason is [`Reason::Protocol`].
    Unsupported(Unsupported),
    Fault(Fault),
}

/// As what the kernel refuses a socket where it has none of this kind, so that programs go on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    Family,
    Protocol,
    /// It has them, and gives them to root alone.
    Privilege,
}

impl Unsupported {
    const fn from_u32(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Family),
            1 => Some(Self::Protocol),
            2 => Some(Self::Privilege),
            _ => None,
        }
    }
}

impl Refusal {
    pub const fn denied(reason: Reason) -> Self {
        Self::Denied { reason, rule: 0, above: 0 }
    }

    /// A rule denies, whose number stands so in a table.
    #[inline(always)]
    pub const fn by_rule(number: u16) -> Self {
        let reason = if number & TRIPWIRE == 0 { Reason::DenyRule } else { Reason::Tripwire };
        Self::Denied { reason, rule: number & MAX_RULE, above: 0 }
    }

    /// The same, said by the rules of the run so many steps above.
    #[inline(always)]
    pub const fn from_above(self, steps: u32) -> Self {
        match self {
            Self::Denied { reason, rule, .. } => Self::Denied { reason, rule, above: steps as u8 },
            Self::Unsupported(_) | Self::Fault(_) => self,
        }
    }

    #[inline(always)]
    pub const fn is_tripwire(&self) -> bool {
        matches!(self, Self::Denied { reason: Reason::Tripwire, .. })
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A decision: the rule that allows, or why not.
pub type Answer = Result<Rule, Refusal>;

/// An answer in one number: as such the kernel's verifier knows nothing about it, and follows all answers as one.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed(pub u64);

impl Packed {
    const ALLOWED: u64 = 0;
    const DENIED: u64 = 1;
    const UNSUPPORTED: u64 = 2;
    const FAULT: u64 = 3;

    #[inline(always)]
    const fn new(kind: u64, member: u32, rule: Rule) -> Self {
        Self(kind << 48 | (member as u64) << 16 | rule as u64)
    }

    /// Bit of the number of steps.
    const ABOVE: u32 = 40;

    #[inline(always)]
    pub const fn of(answer: Answer) -> Self {
        match answer {
            Ok(rule) => Self::new(Self::ALLOWED, 0, rule),
            Err(Refusal::Denied { reason, rule, above }) => {
                let denied = Self::new(Self::DENIED, reason as u32, rule);
                Self(denied.0 | (above as u64) << Self::ABOVE)
            }
            Err(Refusal::Unsupported(what)) => Self::new(Self::UNSUPPORTED, what as u32, 0),
            Err(Refusal::Fault(fault)) => Self::new(Self::FAULT, fault as u32, 0),
        }
    }

    /// A number that no answer has is a fault.
    #[inline(always)]
    pub const fn answer(self) -> Answer {
        let (member, rule) = ((self.0 >> 16) as u32 & 0xff_ffff, self.0 as Rule);
        let refusal = match self.0 >> 48 {
            Self::ALLOWED => return Ok(rule),
            Self::DENIED => match Reason::from_u32(member) {
                Some(reason) => {
                    Refusal::Denied { reason, rule, above: (self.0 >> Self::ABOVE) as u8 }
                }
                None => Refusal::Fault(Fault::None),
            },
            Self::UNSUPPORTED => match Unsupported::from_u32(member) {
                Some(what) => Refusal::Unsupported(what),
                None => Refusal::Fault(Fault::None),
            },
            _ => match Fault::from_u32(member) {
                Some(fault) => Refusal::Fault(fault),
                None => Refusal::Fault(Fault::None),
            },
        };
        Err(refusal)
    }
}

/// Errno of a denial by rule: what programs expect of a file or a peer that is not theirs.
pub const EACCES: i32 = 13;
/// Errno of a move or a link by which something would gain a right: programs copy instead, as between filesystems, and
/// a copy is judged by what it reads and writes.
pub const EXDEV: i32 = 18;
/// Errno of every other denial: the run is over, the decision failed, or another process was meant, for which
/// kill(2) and ptrace(2) know this one.
pub const EPERM: i32 = 1;
/// Errno of a protocol that is not there.
pub const EPROTONOSUPPORT: i32 = 93;
/// Errno of an address family that is not there.
pub const EAFNOSUPPORT: i32 = 97;

/// A decision settled for a run's mode: what is counted and recorded, and what the hook returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub verdict: Verdict,
    pub reason: Reason,
    pub fault: Fault,
    pub rule: Rule,
    /// How many steps above the run stands the one whose rules say so.
    pub above: u8,
    /// 0, or the negative errno that the caller of the system call sees.
    pub errno: i32,
}

impl Settled {
    /// Whether a tripwire was met; in audit mode nothing is denied, and nothing ends.
    #[inline(always)]
    pub fn trips(&self) -> bool {
        self.reason == Reason::Tripwire && self.verdict == Verdict::Deny
    }
}

/// What a denial for this reason says to programs.
#[inline(always)]
const fn errno(reason: Reason) -> i32 {
    match reason {
        Reason::RightsGained => EXDEV,
        // As mknod(2), setsockopt(2), netlink(7), capabilities(7) and unshare(2) say to who may not make device nodes, set
        // the option, change the network, or lacks the privilege.
        Reason::OutsideRun
        | Reason::DeviceNode
        | Reason::SocketOption
        | Reason::Netlink
        | Reason::Capability
        | Reason::UserNamespace => EPERM,
        _ if reason.is_policy() => EACCES,
        _ => EPERM,
    }
}

impl Unsupported {
    #[inline(always)]
    const fn errno(self) -> i32 {
        match self {
            Self::Family => EAFNOSUPPORT,
            Self::Protocol => EPROTONOSUPPORT,
            Self::Privilege => EPERM,
        }
    }
}

#[inline(always)]
fn denial(reason: Reason, rule: Rule, above: u8, errno: i32, mode: Mode) -> Settled {
    let (verdict, errno) = if reason.is_policy() && mode == Mode::AUDIT {
        (Verdict::Audit, 0)
    } else {
        (Verdict::Deny, -errno)
    };
    Settled { verdict, reason, fault: Fault::None, rule, above, errno }
}

/// The one place where an answer becomes an errno.
#[inline(always)]
pub fn settle(answer: Answer, mode: Mode) -> Settled {
    match answer {
        Ok(rule) => Settled {
            verdict: Verdict::Allow,
            reason: Reason::None,
            fault: Fault::None,
            rule,
            above: 0,
            errno: 0,
        },
        Err(Refusal::Denied { reason, rule, above }) => {
            denial(reason, rule, above, errno(reason), mode)
        }
        Err(Refusal::Unsupported(what)) => denial(Reason::Protocol, 0, 0, what.errno(), mode),
        Err(Refusal::Fault(fault)) => Settled {
            verdict: Verdict::Fault,
            reason: Reason::None,
            fault,
            rule: 0,
            above: 0,
            errno: -EPERM,
        },
    }
}
