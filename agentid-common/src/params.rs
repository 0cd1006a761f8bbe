//! What the daemon reads from the running kernel's BTF and hands to the programs before they are loaded.

/// The place of a member: the programs' global that takes its offset in bytes, and where to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub global: &'static str,
    pub structure: &'static str,
    /// Members from the outermost inwards; anonymous ones are left out.
    pub path: &'static [&'static str],
}

macro_rules! fields {
    ($($global:ident: $structure:literal $(. $member:literal)+;)*) => {
        /// Every kernel field that the programs read.
        pub const FIELDS: &[Field] =
            &[$(Field { global: stringify!($global), structure: $structure, path: &[$($member),+] },)*];
    };
}

fields! {
    FILE_PATH: "file"."f_path";
    FILE_DENTRY: "file"."f_path"."dentry";
    FILE_MOUNT: "file"."f_path"."mnt";
    FILE_INODE: "file"."f_inode";
    FILE_MODE: "file"."f_mode";
    FILE_FLAGS: "file"."f_flags";
    FILE_OWNER: "file"."f_owner";
    OWNER_PID: "fown_struct"."pid";
    OWNER_KIND: "fown_struct"."pid_type";
    PID_LEVEL: "pid"."level";
    PID_NUMBERS: "pid"."numbers";
    PATH_DENTRY: "path"."dentry";
    DENTRY_PARENT: "dentry"."d_parent";
    DENTRY_INODE: "dentry"."d_inode";
    DENTRY_SB: "dentry"."d_sb";
    DENTRY_SEQ: "dentry"."d_seq"."seqcount"."sequence";
    DENTRY_FLAGS: "dentry"."d_flags";
    DENTRY_NAME: "dentry"."d_name"."name";
    DENTRY_NAME_LEN: "dentry"."d_name"."len";
    INODE_SB: "inode"."i_sb";
    INODE_MODE: "inode"."i_mode";
    INODE_NUMBER: "inode"."i_ino";
    INODE_DEVICE: "inode"."i_rdev";
    INODE_GENERATION: "inode"."i_generation";
    INODE_LINKS: "inode"."i_nlink";
    SB_ROOT: "super_block"."s_root";
    SB_MAGIC: "super_block"."s_magic";
    SB_FLAGS: "super_block"."s_flags";
    SB_TYPE: "super_block"."s_type";
    TYPE_NAME: "file_system_type"."name";
    VFSMOUNT_SB: "vfsmount"."mnt_sb";
    MOUNT_VFSMOUNT: "mount"."mnt";
    MOUNT_NAMESPACE: "mount"."mnt_ns";
    BPRM_FILE: "linux_binprm"."file";
    BPRM_FILENAME: "linux_binprm"."filename";
    BPRM_INTERP: "linux_binprm"."interp";
    BPRM_ARGC: "linux_binprm"."argc";
    BPRM_P: "linux_binprm"."p";
    IATTR_VALID: "iattr"."ia_valid";
    TASK_FLAGS: "task_struct"."flags";
    TASK_CRED: "task_struct"."cred";
    TASK_REAL_CRED: "task_struct"."real_cred";
    TASK_IO_URING: "task_struct"."io_uring";
    TASK_MM: "task_struct"."mm";
    MM_USERS: "mm_struct"."mm_users"."counter";
    TASK_FILES: "task_struct"."files";
    FILES_COUNT: "files_struct"."count"."counter";
    TASK_FS: "task_struct"."fs";
    FS_USERS: "fs_struct"."users";
    VMA_FILE: "vm_area_struct"."vm_file";
    TASK_STORAGE: "task_struct"."bpf_storage";
    TASK_TGID: "task_struct"."tgid";
    TASK_TID: "task_struct"."pid";
    TASK_LEADER: "task_struct"."group_leader";
    TASK_NUMBERS: "task_struct"."thread_pid";
    TASK_CGROUPS: "task_struct"."cgroups";
    CGROUPS_DEFAULT: "css_set"."dfl_cgrp";
    CGROUP_NODE: "cgroup"."kn";
    NODE_ID: "kernfs_node"."id";
    SOCKET_SK: "socket"."sk";
    SOCKET_FILE: "socket"."file";
    SOCK_NET: "sock"."__sk_common"."skc_net"."net";
    NET_COOKIE: "net"."net_cookie";
    SOCK_TYPE: "sock"."sk_type";
    SOCK_PROTOCOL: "sock"."sk_protocol";
    SOCK_FAMILY: "sock"."__sk_common"."skc_family";
    SOCK_STATE: "sock"."__sk_common"."skc_state";
    SOCK_DEVICE: "sock"."__sk_common"."skc_bound_dev_if";
    SOCK_SOCKET: "sock"."sk_socket";
    SOCK_OWN_PORT: "sock"."__sk_common"."skc_num";
    SOCK_OWN_V4: "sock"."__sk_common"."skc_rcv_saddr";
    SOCK_OWN_V6: "sock"."__sk_common"."skc_v6_rcv_saddr";
    SOCK_PEER_PORT: "sock"."__sk_common"."skc_dport";
    SOCK_PEER_V4: "sock"."__sk_common"."skc_daddr";
    SOCK_PEER_V6: "sock"."__sk_common"."skc_v6_daddr";
    SOCKADDR_FAMILY: "sockaddr"."sa_family";
    MESSAGE_NAME: "msghdr"."msg_name";
    MESSAGE_NAME_LEN: "msghdr"."msg_namelen";
    MESSAGE_CONTROL: "msghdr"."msg_control";
    MESSAGE_CONTROL_LEN: "msghdr"."msg_controllen";
    MESSAGE_FLAGS: "msghdr"."msg_flags";
    UNIX_DENTRY: "unix_sock"."path"."dentry";
    UNIX_ADDRESS: "unix_sock"."addr";
    UNIX_ADDRESS_LENGTH: "unix_address"."len";
    UNIX_ADDRESS_NAME: "unix_address"."name";
    SKB_DATA: "sk_buff"."data";
    SKB_LENGTH: "sk_buff"."len";
}

/// The programs' global that takes the address of the kernel's `rename_lock` (fs/dcache.c), whose sequence is odd while a
/// file or folder gets another place, and another one afterwards. 0 where the kernel does not tell it.
pub const RENAME_LOCK: &str = "RENAME_LOCK";
/// The kernel's name for it.
pub const RENAME_LOCK_SYMBOL: &str = "rename_lock";

/// The programs' global that takes how far behind an inode of btrfs the address of its tree lies (fs/btrfs: both are
/// members of `struct btrfs_inode`); the distance may be negative.
pub const TREE_OF_INODE: &str = "TREE_OF_INODE";
/// The one that takes where a tree has its number. 0 while the kernel does not tell, and then btrfs is a filesystem that is
/// not known.
pub const NUMBER_OF_TREE: &str = "NUMBER_OF_TREE";
/// Where its types tell the distance: from the first to the second.
pub const TREE_FIELDS: [(&str, &[&str]); 2] =
    [("btrfs_inode", &["vfs_inode"]), ("btrfs_inode", &["root"])];
/// Where they tell the place of the number.
pub const TREE_NUMBER_FIELD: (&str, &[&str]) = ("btrfs_root", &["root_key", "objectid"]);

/// What is copied of a dentry at once, from its beginning, in bytes.
pub const DENTRY_HEAD: u32 = 64;
/// The member that tells of a change of the others, which is copied before them.
pub const DENTRY_HEAD_FIRST: &str = "DENTRY_SEQ";
/// The members that are read from that copy after it.
pub const DENTRY_HEAD_LATER: [&str; 4] =
    ["DENTRY_PARENT", "DENTRY_NAME_LEN", "DENTRY_NAME", "DENTRY_INODE"];

/// The programs' global that says whether the kernel has backing files (include/linux/fs.h: `backing_file_open`,
/// Linux 6.5): 1 or 0.
pub const BACKING_FILES: &str = "BACKING_FILES";
/// The structure whose presence tells.
pub const BACKING_FILE_STRUCTURE: &str = "backing_file";

/// The programs' global that says which argument of `inode_setattr` is the dentry; what is changed comes next.
pub const SETATTR_DENTRY: &str = "SETATTR_DENTRY";
/// The kernel's function whose arguments tell, and the argument's name there.
pub const SETATTR: (&str, &str) = ("bpf_lsm_inode_setattr", "dentry");

/// The programs' global that says whether whom a file's signals go to is kept apart from the file (include/linux/fs.h:
/// `struct file`, a pointer since Linux 6.12): 1 or 0.
pub const OWNER_APART: &str = "OWNER_APART";
/// The structure and its member whose size tells.
pub const OWNER: (&str, &str) = ("file", "f_owner");

/// The programs' global that takes where a filesystem keeps by which rules it takes names for equal (`struct super_block`). 0
/// where the kernel has no such rules.
pub const ENCODING: &str = "SB_ENCODING";
/// The structure and its member.
pub const ENCODING_FIELD: (&str, &str) = ("super_block", "s_encoding");
