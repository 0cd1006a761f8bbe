//! The only reads of the kernel's own structures.
//!
//! Offsets come from the running kernel's BTF, as globals that are frozen before the verifier sees them: it knows
//! their values, and refuses a load that does not hit a member of the right type.

mod signal;

pub use signal::{own_number, owner};

use agentid_common::{
    anonymous, device,
    file::{FIRST_TREE, folds_by_type},
    params::DENTRY_HEAD,
    verdict::Fault,
};
use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::task_struct,
    helpers::generated::{bpf_probe_read_kernel, bpf_skc_to_unix_sock},
    programs::LsmContext,
};

/// include/linux/dcache.h: names below are compared by the filesystem's own idea of equality.
pub const DCACHE_OP_COMPARE: u32 = 1 << 1;
/// fs/mount.h, `MNT_NS_INTERNAL`: what stands in the place of a mount's namespace when it is in none.
const NO_NAMESPACE: i64 = -22;
/// include/linux/sched.h
const PF_EXITING: u32 = 1 << 2;
const PF_IO_WORKER: u32 = 1 << 4;
/// include/linux/fs.h
const ATTR_MODE: u32 = 1 << 0;
const ATTR_FORCE: u32 = 1 << 9;
/// `ATTR_KILL_SUID`, `ATTR_KILL_SGID` and `ATTR_KILL_PRIV`.
const ATTR_KILL: u32 = 1 << 11 | 1 << 12 | 1 << 14;

macro_rules! offsets {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        static $name: Global<u32> = Global::new(0);
    )*};
}

offsets! {
    FILE_PATH FILE_DENTRY FILE_MOUNT FILE_INODE FILE_MODE FILE_FLAGS PATH_DENTRY
    DENTRY_PARENT DENTRY_INODE DENTRY_SB DENTRY_SEQ DENTRY_FLAGS DENTRY_NAME DENTRY_NAME_LEN
    INODE_SB INODE_MODE INODE_NUMBER INODE_DEVICE INODE_GENERATION INODE_LINKS SB_ROOT SB_MAGIC SB_FLAGS SB_TYPE TYPE_NAME VFSMOUNT_SB
    BPRM_FILE BPRM_FILENAME BPRM_INTERP BPRM_ARGC BPRM_P
    VMA_FILE MOUNT_VFSMOUNT MOUNT_NAMESPACE IATTR_VALID TASK_FLAGS TASK_CRED TASK_REAL_CRED TASK_IO_URING TASK_MM MM_USERS TASK_FILES FILES_COUNT TASK_FS FS_USERS
    TASK_STORAGE TASK_TGID TASK_TID TASK_CGROUPS CGROUPS_DEFAULT CGROUP_NODE NODE_ID SOCKET_SK SOCKET_FILE SOCK_NET NET_COOKIE SOCK_TYPE SOCK_PROTOCOL SOCK_FAMILY SOCK_STATE SOCK_DEVICE SOCK_SOCKET
    SOCK_OWN_PORT SOCK_OWN_V4 SOCK_OWN_V6 SOCK_PEER_PORT SOCK_PEER_V4 SOCK_PEER_V6 SOCKADDR_FAMILY
    MESSAGE_NAME MESSAGE_NAME_LEN MESSAGE_CONTROL MESSAGE_CONTROL_LEN MESSAGE_FLAGS
    UNIX_DENTRY UNIX_ADDRESS UNIX_ADDRESS_LENGTH UNIX_ADDRESS_NAME SKB_DATA SKB_LENGTH
    FILE_OWNER OWNER_APART OWNER_PID OWNER_KIND PID_LEVEL PID_NUMBERS TASK_LEADER TASK_NUMBERS
    BACKING_FILES SETATTR_DENTRY SB_ENCODING
}

#[unsafe(no_mangle)]
static RENAME_LOCK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TREE_OF_INODE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NUMBER_OF_TREE: Global<u32> = Global::new(0);

/// Loads a member through a pointer that the verifier knows the type of.
#[inline(always)]
fn load<T: Copy>(base: *const u8, offset: &Global<u32>) -> T {
    // SAFETY: the verifier accepts the load only where the member lies; a fault in it reads as zero.
    unsafe { core::ptr::read_volatile(base.add(offset.load() as usize).cast::<T>()) }
}

macro_rules! structures {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty = $offset:ident;)* })*) => {$(
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub *const u8);

        #[allow(dead_code, reason = "not every structure is compared with null")]
        impl $name {
            #[inline(always)]
            pub fn is_null(self) -> bool {
                self.0.is_null()
            }

            $($(#[$fmeta])*
            #[inline(always)]
            pub fn $field(self) -> $type {
                load(self.0, &$offset)
            })*
        }
    )*};
}

structures! {
    /// `struct file`
    File {
        dentry: Dentry = FILE_DENTRY;
        mount: Mount = FILE_MOUNT;
        inode: Inode = FILE_INODE;
        mode: u32 = FILE_MODE;
        flags: u32 = FILE_FLAGS;
    }
    /// `struct path`
    Path { dentry: Dentry = PATH_DENTRY; }
    /// `struct dentry`
    Dentry {
        parent: Dentry = DENTRY_PARENT;
        inode: Inode = DENTRY_INODE;
        superblock: SuperBlock = DENTRY_SB;
        flags: u32 = DENTRY_FLAGS;
        name_length: u32 = DENTRY_NAME_LEN;
    }
    /// `struct inode`
    Inode {
        superblock: SuperBlock = INODE_SB;
        mode: u16 = INODE_MODE;
        number: u64 = INODE_NUMBER;
        /// Which device a device node stands for, in the kernel's own encoding.
        device: u32 = INODE_DEVICE;
        generation: u32 = INODE_GENERATION;
        /// How many names it has.
        links: u32 = INODE_LINKS;
    }
    /// `struct super_block`
    SuperBlock {
        root: Dentry = SB_ROOT;
        magic: u64 = SB_MAGIC;
        flags: u64 = SB_FLAGS;
        kind: Type = SB_TYPE;
    }
    /// `struct file_system_type`
    Type {
        /// Where its name lies.
        name: u64 = TYPE_NAME;
    }
    /// `struct iattr`
    Attributes { valid: u32 = IATTR_VALID; }
    /// `struct vfsmount`
    Mount { superblock: SuperBlock = VFSMOUNT_SB; }
    /// `struct linux_binprm`
    Binprm {
        file: File = BPRM_FILE;
        /// Where the name lies by which the caller executes it.
        filename: u64 = BPRM_FILENAME;
        /// Where the name of what interprets it lies; the same place where nothing does.
        interpreter: u64 = BPRM_INTERP;
        argument_count: u32 = BPRM_ARGC;
        /// Where the first argument lies in the new memory, the others behind it.
        arguments: u64 = BPRM_P;
    }
    /// `struct vm_area_struct`
    Area {
        /// Null for anonymous memory.
        file: File = VMA_FILE;
    }
    /// `struct socket`
    Socket {
        sock: Sock = SOCKET_SK;
        /// Null for a socket that the kernel has made for itself.
        file: File = SOCKET_FILE;
    }
    /// `struct net`
    Namespace { cookie: u64 = NET_COOKIE; }
    /// `struct sock`
    Sock {
        namespace: Namespace = SOCK_NET;
        family: u16 = SOCK_FAMILY;
        kind: u16 = SOCK_TYPE;
        protocol: u16 = SOCK_PROTOCOL;
        /// As TCP counts them (include/net/tcp_states.h), also for other protocols.
        state: u8 = SOCK_STATE;
        device: u32 = SOCK_DEVICE;
        /// Null when no process has it.
        socket: Socket = SOCK_SOCKET;
        own_port: u16 = SOCK_OWN_PORT;
        own_v4: [u8; 4] = SOCK_OWN_V4;
        /// In network byte order.
        peer_port: [u8; 2] = SOCK_PEER_PORT;
        peer_v4: [u8; 4] = SOCK_PEER_V4;
    }
    /// `struct msghdr`
    Message {
        /// Where the kernel's copy of the address lies; 0 when there is none.
        name: u64 = MESSAGE_NAME;
        name_length: i32 = MESSAGE_NAME_LEN;
        /// Where the kernel's copy of what travels with it lies.
        control: u64 = MESSAGE_CONTROL;
        control_length: u64 = MESSAGE_CONTROL_LEN;
        flags: u32 = MESSAGE_FLAGS;
    }
    /// `struct sockaddr`
    SockAddr { family: u16 = SOCKADDR_FAMILY; }
    /// `struct unix_sock`
    UnixSock {
        /// The file that the socket is bound to; null when it has an abstract name or none. It stays what it is while the
        /// socket is locked.
        dentry: Dentry = UNIX_DENTRY;
        /// Where its `struct unix_address` lies, which stays what it is once it is there; 0 when the socket has none.
        address: u64 = UNIX_ADDRESS;
    }
    /// `struct sk_buff`
    Buffer {
        /// Address of the first byte.
        data: u64 = SKB_DATA;
        length: u32 = SKB_LENGTH;
    }
}

impl File {
    /// The filesystem that the file was opened on.
    ///
    /// Without backing files (before 6.5) overlayfs opens what it stores a file in under the path of the overlay and
    /// with the inode of the layer: there the dentry tells. With them both agree, and 7.3 trusts only the inode.
    #[inline(always)]
    pub fn superblock(self) -> SuperBlock {
        if BACKING_FILES.load() == 0 {
            self.dentry().superblock()
        } else {
            self.inode().superblock()
        }
    }

    /// The embedded `struct path`.
    #[inline(always)]
    pub fn path(self) -> *const u8 {
        // SAFETY: stays inside `struct file`; the verifier checks it.
        unsafe { self.0.add(FILE_PATH.load() as usize) }
    }
}

impl SuperBlock {
    /// Whether names anywhere here may be equal that are not the same bytes. Up to 6.8 ext4 and f2fs say so of a name only
    /// once it was looked for, so neither of their root nor of a file without a name.
    #[inline(always)]
    pub fn folds(self) -> bool {
        folds_by_type(self.magic())
            || SB_ENCODING.load() != 0 && load::<u64>(self.0, &SB_ENCODING) != 0
    }

    /// Whether the kernel itself makes the device nodes here; no when it cannot be read.
    #[inline(always)]
    pub fn is_of_devices(self) -> bool {
        let (mut name, mut end) = (0_u64, 1_u8);
        let at = self.kind().name();
        read_into(&mut name, at)
            && read_into(&mut end, at.wrapping_add(size_of::<u64>() as u64))
            && name == u64::from_ne_bytes(*device::OWN_FILESYSTEM)
            && end == 0
    }
}

impl Mount {
    /// Whether no path leads here, because the kernel made the mount for itself.
    #[inline(always)]
    pub fn is_private(self) -> bool {
        let mut namespace = 0_i64;
        // The member is one of `struct mount`, which lies around this one.
        let from_here = MOUNT_NAMESPACE.load().wrapping_sub(MOUNT_VFSMOUNT.load());
        let at = self.0.wrapping_add(from_here as usize);
        // SAFETY: the helper checks every address it reads and fails instead of faulting.
        let failed = unsafe { bpf_probe_read_kernel((&raw mut namespace).cast(), 8, at.cast()) };
        failed == 0 && namespace == NO_NAMESPACE
    }
}

impl Sock {
    /// Null when it is of another family.
    #[inline(always)]
    pub fn as_unix(self) -> UnixSock {
        // SAFETY: the verifier checks that it is a socket.
        UnixSock(unsafe { bpf_skc_to_unix_sock(self.0.cast_mut().cast()) }.cast())
    }
}

impl UnixSock {
    /// How long the socket's address is, and where the kernel's copy of it lies. None, or one that cannot be read, is empty.
    #[inline(always)]
    pub fn own_address(self) -> (u32, u64) {
        let (at, mut length) = (self.address(), 0_u32);
        let length_at = at.wrapping_add(u64::from(UNIX_ADDRESS_LENGTH.load()));
        if at == 0 || !read_into(&mut length, length_at) {
            return (0, 0);
        }
        (length, at.wrapping_add(u64::from(UNIX_ADDRESS_NAME.load())))
    }
}

impl Dentry {
    /// Whether names in this folder may be equal that are not the same bytes.
    #[inline(always)]
    pub fn folds(self) -> bool {
        self.flags() & DCACHE_OP_COMPARE != 0
    }

    /// Copies the first `length` bytes of the name; false when they cannot be read.
    #[inline(always)]
    pub fn read_name(self, buffer: *mut u8, length: u32) -> bool {
        read(buffer, length, self.name_address())
    }

    /// The name of a descriptor that is no file's; `None` when it is longer than a harmless one's.
    #[inline(always)]
    pub fn anonymous_name(self) -> Result<Option<anonymous::Words>, Fault> {
        let (mut name, length) = ([0; 2], self.name_length());
        if length > anonymous::MAX_NAME {
            return Ok(None);
        }
        if !self.read_name((&raw mut name).cast(), length & anonymous::MAX_NAME) {
            return Err(Fault::WalkRead);
        }
        Ok(Some(name))
    }

    /// Where the name lies, for as long as the file keeps it.
    #[inline(always)]
    pub fn name_address(self) -> u64 {
        load::<u64>(self.0, &DENTRY_NAME)
    }
}

impl Sock {
    /// Copies the socket's own IPv6 address; false when it cannot be read.
    #[inline(always)]
    pub fn own_v6(self, address: &mut [u8; 16]) -> bool {
        read_into(address, self.0.wrapping_add(SOCK_OWN_V6.load() as usize) as u64)
    }

    /// The same of the peer's.
    #[inline(always)]
    pub fn peer_v6(self, address: &mut [u8; 16]) -> bool {
        read_into(address, self.0.wrapping_add(SOCK_PEER_V6.load() as usize) as u64)
    }
}

/// Copies integers that lie in kernel memory; false when they cannot be read.
#[inline(always)]
pub fn read_into<T: Copy>(value: &mut T, address: u64) -> bool {
    read(core::ptr::from_mut(value).cast(), size_of::<T>() as u32, address)
}

/// The beginning of a dentry that is known by its address only: what is copied of it may be stale, or no dentry any more,
/// until its sequence is found unchanged.
#[repr(C)]
pub struct DentryHead([u64; DENTRY_HEAD as usize / 8]);

impl DentryHead {
    /// Copies it; false when it cannot be read.
    #[inline(always)]
    pub fn copy(&mut self, dentry: u64) -> bool {
        read(self.0.as_mut_ptr().cast(), DENTRY_HEAD, dentry)
    }

    #[inline(always)]
    fn member<T: Copy>(&self, offset: &Global<u32>) -> T {
        load(self.0.as_ptr().cast(), offset)
    }

    /// Odd while the name or the parent changes, and another number afterwards.
    #[inline(always)]
    pub fn sequence(&self) -> u32 {
        self.member(&DENTRY_SEQ)
    }

    #[inline(always)]
    pub fn flags(&self) -> u32 {
        self.member(&DENTRY_FLAGS)
    }

    #[inline(always)]
    pub fn parent(&self) -> u64 {
        self.member(&DENTRY_PARENT)
    }

    #[inline(always)]
    pub fn name(&self) -> u64 {
        self.member(&DENTRY_NAME)
    }

    #[inline(always)]
    pub fn name_length(&self) -> u32 {
        self.member(&DENTRY_NAME_LEN)
    }

    /// The address of its inode, 0 when it has none.
    #[inline(always)]
    pub fn inode(&self) -> u64 {
        self.member(&DENTRY_INODE)
    }
}

/// The sequence of `rename_lock` (fs/dcache.c), with which every file or folder that gets another place leaves another one
/// (`__d_move`). Odd while one does, and when it cannot be read.
///
/// It is the first member of its structure (include/linux/seqlock_types.h: `seqlock_t`).
#[inline(always)]
pub fn renames() -> u32 {
    let at = RENAME_LOCK.load();
    let mut sequence = 0_u32;
    let known = at != 0 && read((&raw mut sequence).cast(), size_of::<u32>() as u32, at);
    if known { sequence } else { 1 }
}

/// The sequence of a dentry that is known by its address only.
#[inline(always)]
pub fn sequence_at(dentry: u64, sequence: &mut u32) -> bool {
    let address = dentry.wrapping_add(u64::from(DENTRY_SEQ.load()));
    read(core::ptr::from_mut(sequence).cast(), size_of::<u32>() as u32, address)
}

/// What tells an inode from others of its filesystem; `None` when it cannot be read.
#[inline(always)]
pub fn number_and_generation_at(inode: u64) -> Option<(u64, u32)> {
    let (mut number, mut generation) = (0_u64, 0_u32);
    let at = |offset: &Global<u32>| inode.wrapping_add(u64::from(offset.load()));
    let whole = read((&raw mut number).cast(), size_of::<u64>() as u32, at(&INODE_NUMBER))
        && read((&raw mut generation).cast(), size_of::<u32>() as u32, at(&INODE_GENERATION));
    if whole { Some((number, generation)) } else { None }
}

/// Whether the trees of btrfs can be told apart.
#[inline(always)]
pub fn knows_trees() -> bool {
    NUMBER_OF_TREE.load() != 0
}

/// The number of the tree of btrfs that an inode is in; `None` when it cannot be read, or is none that a key has room for.
#[inline(always)]
pub fn tree_at(inode: u64) -> Option<u32> {
    let (mut tree, mut number) = (0_u64, 0_u64);
    let distance = i64::from(TREE_OF_INODE.load().cast_signed());
    let whole = read_into(&mut tree, inode.wrapping_add(distance.cast_unsigned()))
        && read_into(&mut number, tree.wrapping_add(u64::from(NUMBER_OF_TREE.load())));
    let fits = number >= u64::from(FIRST_TREE) && number <= u64::from(u32::MAX);
    if whole && fits { Some(number as u32) } else { None }
}

/// Copies kernel memory, whatever lies there now; false when it cannot be read.
#[inline(always)]
pub fn read(buffer: *mut u8, length: u32, address: u64) -> bool {
    // SAFETY: the helper checks every address it reads and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(buffer.cast(), length, address as *const _) == 0 }
}

impl Attributes {
    /// Whether nothing is asked but what the kernel does to a file when it is written (fs/inode.c: `__remove_privs`).
    #[inline(always)]
    pub fn only_drop_privileges(self) -> bool {
        let valid = self.valid();
        valid & ATTR_FORCE != 0 && valid & !(ATTR_FORCE | ATTR_MODE | ATTR_KILL) == 0
    }
}

/// What `inode_setattr` is asked about: a dentry, and next to it what is to be changed.
#[inline(always)]
pub fn changed_by(ctx: &LsmContext) -> (Dentry, Attributes) {
    let arguments: *const *const u8 = ctx.as_ptr().cast();
    // SAFETY: a hook's context is its arguments, and behind them what the program before ours has returned: there are
    // three words. Each is read for itself, because the verifier refuses a place in them that was calculated.
    let (first, second, third) = unsafe {
        (
            arguments.read_volatile(),
            arguments.add(1).read_volatile(),
            arguments.add(2).read_volatile(),
        )
    };
    if SETATTR_DENTRY.load() == 0 {
        (Dentry(first), Attributes(second))
    } else {
        (Dentry(second), Attributes(third))
    }
}

/// Whether a task has other credentials now than its own.
#[inline(always)]
pub fn has_lent_credentials(task: *const task_struct) -> bool {
    load::<*const u8>(task.cast(), &TASK_CRED) != load::<*const u8>(task.cast(), &TASK_REAL_CRED)
}

/// Whether a task can be carrying out an operation of io_uring: one that has set up or entered a ring, or one of the
/// threads that the kernel starts for them.
#[inline(always)]
pub fn uses_io_uring(task: *const task_struct) -> bool {
    load::<u32>(task.cast(), &TASK_FLAGS) & PF_IO_WORKER != 0 || has_ring(task)
}

/// Whether a task has set up or entered a ring of io_uring since it has executed something.
#[inline(always)]
pub fn has_ring(task: *const task_struct) -> bool {
    !load::<*const u8>(task.cast(), &TASK_IO_URING).is_null()
}

/// How many tasks a task's memory has, those included that hold it for the moment.
#[inline(always)]
pub fn users_of_memory(task: *const task_struct) -> u32 {
    users(task, &TASK_MM, &MM_USERS)
}

/// How many tasks a task's table of descriptors has.
#[inline(always)]
pub fn users_of_descriptors(task: *const task_struct) -> u32 {
    users(task, &TASK_FILES, &FILES_COUNT)
}

/// How many tasks a task's working folder and root have.
#[inline(always)]
pub fn users_of_folder(task: *const task_struct) -> u32 {
    users(task, &TASK_FS, &FS_USERS)
}

/// Addresses of a task's memory, of its table of descriptors, and of its working folder and root, as numbers: tasks that share one have
/// the same. 0 when the task has let go of it.
#[inline(always)]
pub fn memory_at(task: *const task_struct) -> u64 {
    load(task.cast(), &TASK_MM)
}

#[inline(always)]
pub fn descriptors_at(task: *const task_struct) -> u64 {
    load(task.cast(), &TASK_FILES)
}

#[inline(always)]
pub fn folder_at(task: *const task_struct) -> u64 {
    load(task.cast(), &TASK_FS)
}

/// Nobody, when the task is on its way out and has let go of it.
#[inline(always)]
fn users(task: *const task_struct, what: &Global<u32>, count: &Global<u32>) -> u32 {
    let shared = load::<*const u8>(task.cast(), what);
    if shared.is_null() { 0 } else { load::<u32>(shared, count) }
}

/// Whether a task has no storage at all, of ours or of anybody's. It gets one with the first value that is kept in it.
#[inline(always)]
pub fn has_no_storage(task: *const task_struct) -> bool {
    load::<*const u8>(task.cast(), &TASK_STORAGE).is_null()
}

/// Whether a task is on its way out, where no signal reaches it.
#[inline(always)]
pub fn is_exiting(task: *const task_struct) -> bool {
    load::<u32>(task.cast(), &TASK_FLAGS) & PF_EXITING != 0
}

/// The hook's first argument, `None` where the kernel passes null.
///
/// Before it is taken for a pointer it is read as a number: 6.12's verifier believes that a hook's pointers are never
/// null, removes the test for it, and the load behind it brings the kernel down. 7.3 knows better and asks for the
/// test of the pointer.
#[inline(always)]
pub fn nullable_file(ctx: &LsmContext) -> Result<Option<File>, Fault> {
    let mut number = 0_u64;
    if !read_argument(ctx, 0, &mut number) {
        return Err(Fault::WalkRead);
    }
    if number == 0 {
        return Ok(None);
    }
    let file = File(ctx.arg(0));
    Ok(if file.is_null() { None } else { Some(file) })
}

/// A hook's argument as a number that can be calculated with, the first one with 0; 0 when it cannot be read.
#[inline(always)]
pub fn argument_as_number(ctx: &LsmContext, argument: u64) -> u64 {
    let mut number = 0;
    if read_argument(ctx, argument, &mut number) { number } else { 0 }
}

#[inline(always)]
fn read_argument(ctx: &LsmContext, argument: u64, number: &mut u64) -> bool {
    const SIZE: u64 = size_of::<u64>() as u64;
    // A hook's context begins with its arguments, eight bytes each.
    let at = ctx.as_ptr() as u64 + argument * SIZE;
    read(core::ptr::from_mut(number).cast(), SIZE as u32, at)
}

/// Number of a task's process in the initial namespace.
#[inline(always)]
pub fn tgid(task: *const task_struct) -> u32 {
    load::<u32>(task.cast(), &TASK_TGID)
}

/// Number of the cgroup of the v2 hierarchy that a task is in.
#[inline(always)]
pub fn cgroup(task: *const task_struct) -> u64 {
    let groups = load::<*const u8>(task.cast(), &TASK_CGROUPS);
    let group = load::<*const u8>(groups, &CGROUPS_DEFAULT);
    let node = load::<*const u8>(group, &CGROUP_NODE);
    load::<u64>(node, &NODE_ID)
}

/// Number of a task in the initial namespace.
#[inline(always)]
pub fn tid(task: *const task_struct) -> u32 {
    load::<u32>(task.cast(), &TASK_TID)
}
