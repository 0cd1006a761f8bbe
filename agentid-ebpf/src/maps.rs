//! Every map. Names have at most 15 characters; capacities are those of `agentid_common::map`.

use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_cxchg},
    ptr::read_volatile,
};

use agentid_common::{
    counter,
    decide::{
        file::{Head, Search},
        lifecycle::Alive,
    },
    file::{AnchorKey, EdgeKey, Entry, EntryKey, Glob, HEADS, Identity, MAX_DEPTH, MAX_NAME, Node},
    glob::Spelling,
    instance::{Activity, Instance},
    map,
    net::{self, Address, Asker, PeerKey, Pins, PortKey, PortRule},
    record::{
        ExecRecord, FileRecord, MAX_PATH, PeerRecord, PlainRecord, ShareLine, SocketLine, TaskLine,
    },
    tag::Tag,
};
use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, inode,
        task_struct,
    },
    btf_maps::{Array, HashMap, InodeStorage, LpmTrie, PerCpuArray, RingBuf},
    helpers::{
        bpf_inode_storage_get, bpf_sk_storage_get, bpf_task_storage_delete, bpf_task_storage_get,
    },
    macros::btf_map,
};

use crate::{
    kfield::DentryHead,
    object::known::{Circumstances, Known},
    vouched::Vouched,
};

const MAPPED: usize = BPF_F_MMAPABLE as usize;
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
const INHERITED: usize = ON_DEMAND | BPF_F_CLONE as usize;

/// BPF task local storage, which aya-ebpf has no type for. The field names and their order are what the loader reads
/// from the object's BTF.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; ON_DEMAND],
}

/// include/uapi/linux/bpf.h: `enum bpf_map_type`.
const BPF_MAP_TYPE_TASK_STORAGE: usize = 29;

// SAFETY: the pointers are never followed; they carry types and numbers to the loader.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    /// The value of a task, if it has one.
    #[inline(always)]
    pub fn get(&self, task: *const task_struct) -> Option<*mut T> {
        self.storage(task, 0)
    }

    /// The value of a task, zeros if it is new; `None` when there is no memory for it.
    #[inline(always)]
    pub fn get_or_create(&self, task: *const task_struct) -> Option<*mut T> {
        self.storage(task, u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
    }

    /// Takes a task's value away, if it has one.
    #[inline(always)]
    pub fn remove(&self, task: *const task_struct) {
        let map = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: as above. That there is none is what is wanted.
        unsafe { bpf_task_storage_delete(map.cast(), task.cast_mut()) };
    }

    #[inline(always)]
    fn storage(&self, task: *const task_struct, flags: u64) -> Option<*mut T> {
        let map = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the verifier checks that `map` is this map and `task` a task.
        let value = unsafe {
            bpf_task_storage_get(map.cast(), task.cast_mut(), core::ptr::null_mut(), flags)
        };
        if value.is_null() { None } else { Some(value.cast()) }
    }
}

/// The same for sockets; with [`INHERITED`] each socket that is accepted from one that has a value gets a copy.
#[repr(C)]
pub struct SocketStorage<T, const FLAGS: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

/// include/uapi/linux/bpf.h: `enum bpf_map_type`.
const BPF_MAP_TYPE_SK_STORAGE: usize = 24;

// SAFETY: as above.
unsafe impl<T, const FLAGS: usize> Sync for SocketStorage<T, FLAGS> {}

impl<T, const FLAGS: usize> SocketStorage<T, FLAGS> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    /// The value of a socket, if it has one.
    #[inline(always)]
    pub fn get(&self, sock: *const c_void) -> Option<*mut T> {
        self.storage(sock, 0)
    }

    /// The value of a socket, zeros if it is new; `None` when there is no memory for it.
    #[inline(always)]
    pub fn get_or_create(&self, sock: *const c_void) -> Option<*mut T> {
        self.storage(sock, u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn storage(&self, sock: *const c_void, flags: u64) -> Option<*mut T> {
        let map = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the verifier checks that `map` is this map and `sock` a socket.
        let value = unsafe {
            bpf_sk_storage_get(map.cast(), sock.cast_mut(), core::ptr::null_mut(), flags)
        };
        if value.is_null() { None } else { Some(value.cast()) }
    }
}

/// The value that inode storage holds for an inode.
#[inline(always)]
pub fn of_inode<T>(map: &InodeStorage<T>, node: *const inode) -> Option<*mut T> {
    inode_storage(map, node, 0)
}

/// The same, zeros if it is new; `None` when there is no memory for it.
#[inline(always)]
pub fn of_inode_or_new<T>(map: &InodeStorage<T>, node: *const inode) -> Option<*mut T> {
    inode_storage(map, node, u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
}

#[inline(always)]
fn inode_storage<T>(map: &InodeStorage<T>, node: *const inode, flags: u64) -> Option<*mut T> {
    // 7.3 knows that `dentry.d_inode` may be null and asks for the test.
    if node.is_null() {
        return None;
    }
    let map = core::ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: the verifier checks that `map` is this map and `node` an inode.
    let value = unsafe {
        bpf_inode_storage_get(map.cast(), node.cast_mut().cast(), core::ptr::null_mut(), flags)
    };
    if value.is_null() { None } else { Some(value.cast()) }
}

/// Which run a task belongs to. Written by `task_alloc` for children, by the daemon for a first task. A fork fails
/// when there is no memory for it.
#[btf_map]
pub static TAGS: TaskStorage<Tag> = TaskStorage::new();

/// Room to work in while a task waits for its own hook; created at its first open.
///
/// The search is here rather than on the stack also for the verifier's sake: what comes out of a map is any number,
/// so it need not follow each combination of heads on its own.
#[repr(C)]
pub struct Work {
    /// The run of the task and those above it.
    pub alive: Alive,
    pub search: Search,
    /// Address of the dentry whose place is asked for.
    pub file: u64,
    /// Address of the dentry where the walk must end.
    pub root: u64,
    /// Our number of the filesystem that the file is on; 0 when the daemon has never looked at it.
    pub filesystem: u64,
    /// The filesystem type's.
    pub magic: u64,
    /// Not 0 when names anywhere on the filesystem may be equal that are not the same bytes.
    pub folds: u32,
    pub reserved: u32,
    /// Number of dentries up to and including the root; 0 until it is reached.
    pub top: u32,
    /// Level of the highest entry found.
    pub level: u32,
    /// Not 0 when a name on the way is compared by the filesystem's own rules.
    pub folding: u32,
    /// A `Fault`: why a step could not be done.
    pub failed: u32,
    /// A `Reason`: why the place is no place for a rule.
    pub denied: u32,
    /// Not 0 when a dentry was changed between the walks.
    pub moved: u32,
    /// See `object::place::forgotten`.
    pub scratch: u32,
    /// Not 0 when what is found for the file's folder may be remembered.
    pub keep: u32,
    /// What must be the same at the end of the search for that.
    pub circumstances: Circumstances,
    /// Address of the inode of the file's folder, 0 where there is none.
    pub folder: u64,
    /// The heads when they had come to that folder.
    pub heads: [Head; HEADS],
    /// The dentry that the walk is at.
    pub head: DentryHead,
    /// The file first, the root last.
    pub steps: [Step; MAX_DEPTH as usize],
    /// The name that the walk is at.
    pub name: Spelling,
    /// The hash of that name.
    pub hash: u64,
    /// A path that is written from its end, with room for one name behind it.
    pub path: [u8; MAX_PATH + MAX_NAME + 1],
}

/// What the way up has found at one dentry.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Step {
    /// Its address.
    pub dentry: u64,
    /// Address of its name.
    pub name: u64,
    pub length: u32,
    pub sequence: u32,
}

#[btf_map]
pub static WORK: TaskStorage<Work> = TaskStorage::new();

/// Slot to run. Written by the daemon only.
#[btf_map]
pub static INSTANCES: Array<Instance, { map::SLOTS as usize }, MAPPED> = Array::new();

/// Slot to what its run has done. Written by the programs, reset by the daemon while the slot is free. The daemon maps it
/// into its memory, where it can take a task out of a count as the programs do.
#[btf_map]
pub static ACTIVITY: Array<Activity, { map::SLOTS as usize }, MAPPED> = Array::new();

/// Folder to its number.
#[btf_map]
pub static ANCHORS: HashMap<AnchorKey, u32, { map::ANCHORS as usize }, ON_DEMAND> = HashMap::new();

/// Scope and anchor to the states in which the automata start there.
#[btf_map]
pub static ENTRIES: HashMap<EntryKey, Entry, { map::ENTRIES as usize }, ON_DEMAND> = HashMap::new();

/// State and name to the next state.
#[btf_map]
pub static EDGES: HashMap<EdgeKey, u32, { map::EDGES as usize }, ON_DEMAND> = HashMap::new();

/// State to its rights.
#[btf_map]
pub static NODES: Array<Node, { map::NODES as usize }> = Array::new();

/// Patterns of names.
#[btf_map]
pub static GLOBS: Array<Glob, { map::GLOBS as usize }> = Array::new();

/// Scope and address to a class of peers.
#[btf_map]
pub static PEERS: LpmTrie<PeerKey, u32, { map::PEERS as usize }> = LpmTrie::new();

/// Class and port to a rule.
#[btf_map]
pub static PORTS: LpmTrie<PortKey, PortRule, { map::PORTS as usize }> = LpmTrie::new();

/// A run's own scope and an address to the names that stand for it.
#[btf_map]
pub static PINS: HashMap<PeerKey, Pins, { map::PINS as usize }, ON_DEMAND> = HashMap::new();

/// See `agentid_common::counter`.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { counter::COUNT as usize }> = PerCpuArray::new();

/// The types that leave by other ways than a map's values. Never stored: it puts their layouts into the object's BTF,
/// where a test compares them with the daemon's.
#[repr(C)]
pub struct Carried {
    plain: PlainRecord,
    file: FileRecord,
    exec: ExecRecord,
    peer: PeerRecord,
    task: TaskLine,
    share: ShareLine,
    socket: SocketLine,
}

/// Records for the daemon. When it is full the record is lost and counted; the verdict stands.
#[btf_map]
pub static EVENTS: RingBuf<Carried, { map::EVENTS as usize }> = RingBuf::new();

/// What was found for folders; see `object::known`.
#[btf_map]
pub static KNOWN: Array<Known, { map::KNOWN as usize }> = Array::new();

/// Address of a folder, by a hash, to how many of that address have gone.
#[btf_map]
pub static LIVES: Array<u64, { map::LIVES as usize }> = Array::new();

/// The editions of the tables of files and of those of peers, odd while the daemon writes them.
#[btf_map]
pub static EDITION: Array<u64, { map::EDITIONS as usize }> = Array::new();

/// The edition of some of the daemon's tables: odd while it writes them, and when it cannot be read.
#[inline(always)]
pub fn edition(of: u32) -> u64 {
    match EDITION.get_ptr(of) {
        // SAFETY: an array's value never moves or goes away.
        Some(edition) => unsafe { read_volatile(edition) },
        None => 1,
    }
}

/// Makes the version of a value that several write odd, if nobody else has.
///
/// # Safety
///
/// `version` is in a map.
#[inline(always)]
pub unsafe fn take(version: *mut u64, from: u64) -> bool {
    const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, ORDER, ORDER>(version, from, from.wrapping_add(1)) }.1
}

/// Secrets and numbers of this host, from the daemon; the programs give out numbers of filesystems.
#[btf_map]
pub static HOST: Array<map::Host, 1> = Array::new();

/// Root inode of a filesystem to our number of it: gone with the filesystem, so never another one's.
#[btf_map]
pub static FILESYSTEMS: InodeStorage<u64> = InodeStorage::new();

/// How the kernel knows a folder that the daemon has opened; read back by descriptor.
#[btf_map]
pub static IDENTITIES: InodeStorage<Identity> = InodeStorage::new();

/// Marks on our own folders in bpffs, set by the daemon.
#[btf_map]
pub static GUARDS: InodeStorage<u32> = InodeStorage::new();

/// Which run has made a socket. Written by `socket_post_create`, and copied to what is accepted; a socket is not made when
/// there is no memory for it.
#[btf_map]
pub static SOCKETS: SocketStorage<Tag, INHERITED> = SocketStorage::new();

/// Which server a socket has asked for a name, before the question was turned to the daemon.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Asked {
    pub address: Address,
    /// As `struct bpf_sock_addr` holds it.
    pub port: u32,
    pub reserved: u32,
}

#[btf_map]
pub static ASKED: SocketStorage<Asked, INHERITED> = SocketStorage::new();

/// The peer that a socket was last found to be granted. Not copied: nobody would keep the kernel from copying it half-written.
#[btf_map]
pub static VOUCHED: SocketStorage<Vouched, ON_DEMAND> = SocketStorage::new();

/// Who has sent the daemon's resolver something last from a port; see [`Asker::index`].
#[btf_map]
pub static ASKERS: Array<Asker, { net::ASKERS as usize }> = Array::new();

/// Which tasks are to become those of a run.
#[btf_map]
pub static ADOPTION: Array<map::Adoption, 1> = Array::new();

/// Where the daemon answers questions for names.
#[btf_map]
pub static RESOLVER: Array<map::Resolver, 1> = Array::new();
