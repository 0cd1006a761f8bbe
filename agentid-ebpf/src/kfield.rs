//! The only reads of the kernel's own structures.
//!
//! Offsets come from the running kernel's BTF, as globals that are frozen before the verifier sees them: it knows
//! their values, and refuses a load that does not hit a member of the right type.

use aya_ebpf::{Global, bindings::task_struct, helpers::generated::bpf_probe_read_kernel};

macro_rules! offsets {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        static $name: Global<u32> = Global::new(0);
    )*};
}

offsets! {
    FILE_PATH FILE_DENTRY FILE_INODE FILE_MODE FILE_FLAGS PATH_DENTRY
    DENTRY_PARENT DENTRY_INODE DENTRY_SB DENTRY_SEQ DENTRY_FLAGS DENTRY_NAME DENTRY_NAME_LEN
    INODE_SB INODE_MODE INODE_NUMBER INODE_GENERATION SB_ROOT SB_MAGIC SB_FLAGS VFSMOUNT_SB BPRM_FILE
    TASK_TGID TASK_TID SOCKET_SK SOCK_TYPE SOCK_PROTOCOL SOCKADDR_FAMILY
    BACKING_FILES
}

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
        /// Odd while the name or the parent changes, and another number afterwards.
        sequence: u32 = DENTRY_SEQ;
        flags: u32 = DENTRY_FLAGS;
        name_length: u32 = DENTRY_NAME_LEN;
    }
    /// `struct inode`
    Inode {
        superblock: SuperBlock = INODE_SB;
        mode: u16 = INODE_MODE;
        number: u64 = INODE_NUMBER;
        generation: u32 = INODE_GENERATION;
    }
    /// `struct super_block`
    SuperBlock {
        root: Dentry = SB_ROOT;
        magic: u64 = SB_MAGIC;
        flags: u64 = SB_FLAGS;
    }
    /// `struct vfsmount`
    Mount { superblock: SuperBlock = VFSMOUNT_SB; }
    /// `struct linux_binprm`
    Binprm { file: File = BPRM_FILE; }
    /// `struct socket`
    Socket { sock: Sock = SOCKET_SK; }
    /// `struct sock`
    Sock {
        kind: u16 = SOCK_TYPE;
        protocol: u16 = SOCK_PROTOCOL;
    }
    /// `struct sockaddr`
    SockAddr { family: u16 = SOCKADDR_FAMILY; }
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

impl Dentry {
    /// Copies the first `length` bytes of the name; false when they cannot be read.
    #[inline(always)]
    pub fn read_name(self, buffer: *mut u8, length: u32) -> bool {
        read(buffer, length, self.name_address())
    }

    /// Where the name lies, for as long as the file keeps it.
    #[inline(always)]
    pub fn name_address(self) -> u64 {
        load::<u64>(self.0, &DENTRY_NAME)
    }
}

/// Copies kernel memory, whatever lies there now; false when it cannot be read.
#[inline(always)]
pub fn read(buffer: *mut u8, length: u32, address: u64) -> bool {
    // SAFETY: the helper checks every address it reads and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(buffer.cast(), length, address as *const _) == 0 }
}

/// Number of a task's process in the initial namespace.
#[inline(always)]
pub fn tgid(task: *const task_struct) -> u32 {
    load::<u32>(task.cast(), &TASK_TGID)
}

/// Number of a task in the initial namespace.
#[inline(always)]
pub fn tid(task: *const task_struct) -> u32 {
    load::<u32>(task.cast(), &TASK_TID)
}
