//! The kernel programs: loading and attaching them, all or none.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use agentid_common::{
    name::{self, NameKey},
    params::RENAME_LOCK,
};
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    programs::{
        BtfTracePoint, Iter, Lsm, PerfEvent, Program, ProgramError,
        links::{FdLink, LinkError, PinnedLink},
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};

use super::{
    btf, cgroup,
    fields::Globals,
    pins::{self, Pins},
};

/// The object that `cargo xtask` built; empty in a build without the BPF toolchain.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agentid-ebpf"));

/// The LSM hooks that must be there; each has a program of the same name.
pub const HOOKS: &[&str] = &[
    "task_alloc",
    "task_free",
    "file_open",
    "path_unlink",
    "path_rmdir",
    "path_mkdir",
    "path_mknod",
    "path_symlink",
    "path_link",
    "path_rename",
    "path_notify",
    "inode_create",
    "inode_getxattr",
    "inode_setattr",
    "inode_setxattr",
    "inode_removexattr",
    "bprm_check_security",
    "bprm_committed_creds",
    "mmap_file",
    "file_mprotect",
    "file_ioctl",
    "file_ioctl_compat",
    "file_receive",
    "socket_create",
    "socket_bind",
    "socket_connect",
    "socket_listen",
    "socket_accept",
    "socket_setsockopt",
    "bpf",
    "task_kill",
    "file_fcntl",
    "ptrace_access_check",
    "ptrace_traceme",
    "task_setnice",
    "task_setioprio",
    "task_setscheduler",
    "task_movememory",
    "task_setrlimit",
    "sb_umount",
    "sb_mount",
    "move_mount",
    "sb_pivotroot",
    "sb_remount",
    "inode_unlink",
    "inode_rmdir",
    "inode_rename",
    "socket_post_create",
    "socket_socketpair",
    "unix_stream_connect",
    "unix_may_send",
    "netlink_send",
    "inode_free_security",
    "capable",
    "userns_create",
];

/// LSM hooks that not every supported kernel has, and the release that brought each: what it sees is seen by another
/// hook before, or by none (`agentid-ebpf/src/hook`). Each has a program of the same name.
pub const LATER_HOOKS: &[(&str, (u32, u32))] =
    &[("inode_set_acl", (6, 2)), ("inode_remove_acl", (6, 2)), ("inode_file_setattr", (6, 17))];

/// The LSM hooks on everybody's reads and writes, and on what everybody takes from sockets; their programs, of the same
/// names, are attached on demand.
pub const DESCRIPTORS: [&str; 3] = ["file_permission", "socket_recvmsg", "socket_getsockopt"];
/// The LSM hook on everybody's messages; its program, of the same name, is attached on demand.
pub const MESSAGES: &str = "socket_sendmsg";
/// The tracepoint on everybody's way off a processor; its program, of the same name, is attached on demand.
pub const SWITCH: &str = "sched_switch";
/// The program that looks at every processor a few times in a second; attached on demand.
pub const CLOCK: &str = "cpu_clock";
/// The programs on the root of the cgroup hierarchy that look at everybody's packets; attached on demand.
pub const PACKETS: [(&str, cgroup::Kind); 2] =
    [("skb_ingress", cgroup::Kind::Ingress), ("skb_egress", cgroup::Kind::Egress)];
/// The programs on the root of the cgroup hierarchy that turn questions for names to the daemon; attached on demand.
pub const NAMES: [(&str, cgroup::Kind); 8] = [
    ("names_connect4", cgroup::Kind::Connect4),
    ("names_connect6", cgroup::Kind::Connect6),
    ("names_sendmsg4", cgroup::Kind::Send4),
    ("names_sendmsg6", cgroup::Kind::Send6),
    ("names_recvmsg4", cgroup::Kind::Receive4),
    ("names_recvmsg6", cgroup::Kind::Receive6),
    ("names_peer4", cgroup::Kind::PeerName4),
    ("names_peer6", cgroup::Kind::PeerName6),
];
/// The programs that are loaded from the start and attached on demand ([`super::demand`]).
pub const ON_DEMAND: [&str; 16] = [
    DESCRIPTORS[0],
    DESCRIPTORS[1],
    DESCRIPTORS[2],
    MESSAGES,
    SWITCH,
    CLOCK,
    PACKETS[0].0,
    PACKETS[1].0,
    NAMES[0].0,
    NAMES[1].0,
    NAMES[2].0,
    NAMES[3].0,
    NAMES[4].0,
    NAMES[5].0,
    NAMES[6].0,
    NAMES[7].0,
];

/// How often a second: what goes on for a quarter of it after its end has outlived its run by no more than a bit.
const CLOCK_RATE: u64 = 4;

/// The tracepoint with a program of its name.
pub const TRACEPOINT: &str = "sched_process_exit";
/// The program on the root of the cgroup hierarchy that is always attached, and what it sees there.
pub const SYSCTL: (&str, cgroup::Kind) = ("sysctl", cgroup::Kind::Sysctl);
/// The iterator over tasks.
pub const LIST_TASKS: &str = "list_tasks";
/// The iterator that tags tasks.
pub const ADOPT_TASKS: &str = "adopt_tasks";
/// The iterator that looks at one task.
pub const LIST_SHARES: &str = "list_shares";
/// The iterator over tagged sockets.
pub const LIST_SOCKETS: &str = "list_sockets";
/// The programs that are pinned themselves, not being held by a link at all times.
pub fn not_always() -> impl Iterator<Item = &'static str> {
    ON_DEMAND.into_iter().chain([LIST_TASKS, LIST_SOCKETS, ADOPT_TASKS, LIST_SHARES])
}

/// The programs on the root of the cgroup hierarchy that are attached on demand, and what each of them sees there.
pub fn on_cgroups() -> impl Iterator<Item = (&'static str, cgroup::Kind)> {
    PACKETS.into_iter().chain(NAMES)
}

/// Every map of the object.
pub const MAPS: &[&str] = &[
    "TAGS",
    "ADOPTION",
    "WORK",
    "INSTANCES",
    "ACTIVITY",
    "ANCHORS",
    "ENTRIES",
    "EDGES",
    "NODES",
    "GLOBS",
    "PEERS",
    "PORTS",
    "PINS",
    "ASKED",
    "ASKERS",
    "RESOLVER",
    "COUNTERS",
    "EVENTS",
    "HOST",
    "FILESYSTEMS",
    "IDENTITIES",
    "GUARDS",
    "SOCKETS",
    "VOUCHED",
    "KNOWN",
    "LIVES",
    "EDITION",
];

/// Root of the cgroup v2 hierarchy.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// The kernel's iterator over the values of a socket storage (net/core/bpf_sk_storage.c).
const SOCKETS_ITERATOR: &str = "bpf_sk_storage_map";

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("find kernel programs in this binary: build it with `cargo xtask dist`")]
    NotBuilt,
    #[error("load the kernel programs")]
    Load(#[source] EbpfError),
    #[error("find the program {0} in the object")]
    NoProgram(&'static str),
    #[error("load the program {name}: {tail}")]
    Refused { name: &'static str, tail: String, source: ProgramError },
    #[error("attach the program {name}")]
    Attach { name: &'static str, source: ProgramError },
    #[error("open {CGROUPS}: mount the cgroup v2 hierarchy there")]
    Cgroups(#[source] io::Error),
    #[error("take the link of {name}")]
    Link { name: &'static str, source: LinkError },
    #[error("attach the program {name} to {CGROUPS}")]
    AttachToCgroups { name: &'static str, source: io::Error },
    #[error("pin {name} at {}", path.display())]
    Pin { name: &'static str, path: PathBuf, source: aya::pin::PinError },
}

/// Tells builds of the programs apart, as loaded on this kernel: what the object holds, and the kernel's types.
pub fn fingerprint(key: &NameKey, globals: &Globals) -> u64 {
    let mut bytes = OBJECT.to_vec();
    for (name, value) in &globals.offsets {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&globals.rename_lock.to_le_bytes());
    name::hash(key, &bytes)
}

/// The hooks that get their program on the running kernel. Whether one is missing that should be there has been asked
/// before ([`super::preflight`]).
pub fn hooks(kernel: &btf::Btf<'_>) -> Vec<&'static str> {
    let later = LATER_HOOKS.iter().map(|&(name, _)| name).filter(|name| kernel.has_hook(name));
    HOOKS.iter().copied().chain(later).collect()
}

/// All LSM hooks that programs are written for, in order, each with its prototype where the kernel has it.
pub fn prototypes(kernel: &btf::Btf<'_>) -> Vec<(&'static str, Option<String>)> {
    let later = LATER_HOOKS.iter().map(|(name, _)| name);
    let mut hooks: Vec<&str> =
        HOOKS.iter().chain(later).chain(&DESCRIPTORS).chain([&MESSAGES]).copied().collect();
    hooks.sort_unstable();
    hooks.into_iter().map(|hook| (hook, kernel.prototype(hook))).collect()
}

/// Names of all links that are always pinned.
pub fn links(hooks: &[&'static str]) -> impl Iterator<Item = &'static str> {
    hooks.iter().copied().chain([TRACEPOINT, SYSCTL.0])
}

/// Reads the object, gives it what the kernel's types tell, and creates or opens its maps at their pins.
pub fn open(btf: &Btf, globals: &Globals, pins: &Pins) -> Result<Ebpf, ObjectError> {
    if OBJECT.is_empty() {
        return Err(ObjectError::NotBuilt);
    }
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf)).allow_unsupported_maps();
    for (global, value) in &globals.offsets {
        loader.override_global(global, value, true);
    }
    loader.override_global(RENAME_LOCK, &globals.rename_lock, true);
    for name in MAPS {
        loader.map_pin_path(name, pins.map(name));
    }
    loader.load(OBJECT).map_err(ObjectError::Load)
}

/// Loads and attaches every program, and pins each link in `folder`. When one fails, none stays attached: links that
/// are not pinned end with this process, pinned ones are unpinned by the caller with the folder.
pub fn attach(
    ebpf: &mut Ebpf,
    btf: &Btf,
    hooks: &[&'static str],
    folder: &Path,
) -> Result<(), ObjectError> {
    load_pinned(ebpf, btf, hooks)?;
    for name in hooks.iter().copied().chain([TRACEPOINT]) {
        attach_one(ebpf, name, folder)?;
    }
    let (name, kind) = SYSCTL;
    let Program::CgroupSysctl(sysctl) = program(ebpf, name)? else {
        return Err(ObjectError::NoProgram(name));
    };
    let descriptor = sysctl.fd().map_err(|source| ObjectError::Attach { name, source })?;
    attach_to_cgroups(descriptor.as_fd(), name, kind, &folder.join(name))
}

/// Attaches a program to the root of the cgroup hierarchy, and pins the link at `path`.
pub fn attach_to_cgroups(
    program: BorrowedFd<'_>,
    name: &'static str,
    kind: cgroup::Kind,
    path: &Path,
) -> Result<(), ObjectError> {
    let cgroups = File::open(CGROUPS).map_err(ObjectError::Cgroups)?;
    cgroup::attach(program, kind, cgroups.as_fd(), path)
        .map_err(|source| ObjectError::AttachToCgroups { name, source })
}

/// Attaches one program that is loaded, to the hook or the tracepoint of its name, and pins the link in `folder`.
fn attach_one(ebpf: &mut Ebpf, name: &'static str, folder: &Path) -> Result<(), ObjectError> {
    let path = folder.join(name);
    match program(ebpf, name)? {
        Program::Lsm(hook) => attach_hook(hook, name, &path),
        Program::BtfTracePoint(tracepoint) => attach_tracepoint(tracepoint, name, &path),
        _ => Err(ObjectError::NoProgram(name)),
    }
}

/// Attaches a program to its hook, and pins the link at `path`.
pub fn attach_hook(hook: &mut Lsm, name: &'static str, path: &Path) -> Result<(), ObjectError> {
    let failed = |source| ObjectError::Attach { name, source };
    let id = hook.attach().map_err(failed)?;
    pin(name, hook.take_link(id).map_err(failed)?.into(), path)
}

/// Attaches a program to its tracepoint, and pins the link at `path`.
pub fn attach_tracepoint(
    tracepoint: &mut BtfTracePoint,
    name: &'static str,
    path: &Path,
) -> Result<(), ObjectError> {
    let failed = |source| ObjectError::Attach { name, source };
    let id = tracepoint.attach().map_err(failed)?;
    pin(name, tracepoint.take_link(id).map_err(failed)?.into(), path)
}

/// Attaches [`CLOCK`] to one processor, and pins the link at `path`.
pub fn attach_clock(clock: &mut PerfEvent, cpu: u32, path: &Path) -> Result<(), ObjectError> {
    let failed = |source| ObjectError::Attach { name: CLOCK, source };
    let event = PerfEventConfig::Software(SoftwareEvent::CpuClock);
    let scope = PerfEventScope::AllProcessesOneCpu { cpu };
    let often = SamplePolicy::Period(1_000_000_000 / CLOCK_RATE);
    let id = clock.attach(event, scope, often, false).map_err(failed)?;
    let link = clock.take_link(id).map_err(failed)?;
    let link = link.try_into().map_err(|source| ObjectError::Link { name: CLOCK, source })?;
    pin(CLOCK, link, path)
}

/// Has the verifier look at every program, without attaching any.
pub fn load(ebpf: &mut Ebpf, btf: &Btf, hooks: &[&'static str]) -> Result<(), ObjectError> {
    load_pinned(ebpf, btf, hooks)?;
    not_always().try_for_each(|name| load_one(ebpf, btf, name))
}

/// Has the verifier look at every program whose link is pinned.
fn load_pinned(ebpf: &mut Ebpf, btf: &Btf, hooks: &[&'static str]) -> Result<(), ObjectError> {
    links(hooks).try_for_each(|name| load_one(ebpf, btf, name))
}

/// Has the verifier look at the programs that are not always attached, and pins them in `folder`.
pub fn load_to_pins(ebpf: &mut Ebpf, btf: &Btf, folder: &Path) -> Result<(), ObjectError> {
    not_always().try_for_each(|name| {
        load_one(ebpf, btf, name)?;
        let path = pins::program(folder, name);
        let pinned = program(ebpf, name)?.pin(&path);
        pinned.map_err(|source| ObjectError::Pin { name, path, source })
    })
}

/// Has the verifier look at the program of this name.
fn load_one(ebpf: &mut Ebpf, btf: &Btf, name: &'static str) -> Result<(), ObjectError> {
    let loaded = match program(ebpf, name)? {
        Program::Lsm(hook) => hook.load(name, btf),
        Program::BtfTracePoint(tracepoint) => tracepoint.load(name, btf),
        Program::PerfEvent(clock) => clock.load(),
        Program::CgroupSysctl(sysctl) => sysctl.load(),
        Program::CgroupSkb(packets) => packets.load(),
        Program::CgroupSockAddr(names) => names.load(),
        Program::Iter(list) if name == LIST_SOCKETS => list.load(SOCKETS_ITERATOR, btf),
        Program::Iter(list) => list.load("task", btf),
        _ => return Err(ObjectError::NoProgram(name)),
    };
    loaded.map_err(|source| refused(name, source))
}

/// An iterator over tasks, to be read once from the start to the end. No link is pinned: what ends the enforcement must
/// not end the means to stop those that were held.
pub fn over_tasks(program: &mut Iter, name: &'static str) -> Result<File, ObjectError> {
    let failed = |source| ObjectError::Attach { name, source };
    let id = program.attach().map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    link.into_file().map_err(|source| ObjectError::Link { name, source })
}

/// Every program and how many instructions the verifier went through for it.
pub fn verified(ebpf: &Ebpf) -> Vec<(String, u32)> {
    let mut counts: Vec<_> = ebpf
        .programs()
        .filter_map(|(name, program)| {
            Some((name.to_owned(), program.info().ok()?.verified_instruction_count()?))
        })
        .collect();
    counts.sort();
    counts
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, ObjectError> {
    ebpf.program_mut(name).ok_or(ObjectError::NoProgram(name))
}

fn pin(name: &'static str, link: FdLink, path: &Path) -> Result<(), ObjectError> {
    // Dropping a `PinnedLink` leaves the pin in place.
    let _pinned: PinnedLink = link.pin(path).map_err(|source| ObjectError::Pin {
        name,
        path: path.to_owned(),
        source,
    })?;
    Ok(())
}

/// The verifier's log is long; what it stumbled over stands at its end.
fn refused(name: &'static str, source: ProgramError) -> ObjectError {
    const LINES: usize = 12;
    let tail = match &source {
        ProgramError::LoadError { verifier_log, .. } => {
            let log = verifier_log.to_string();
            let lines: Vec<_> = log.lines().filter(|line| !line.is_empty()).collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        }
        other => other.to_string(),
    };
    ObjectError::Refused { name, tail, source }
}
