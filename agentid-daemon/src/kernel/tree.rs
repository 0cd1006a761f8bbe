//! Which of the trees of a btrfs a folder is in: each subvolume and each snapshot numbers its inodes for itself.

use std::{fs::File, io, os::fd::AsRawFd};

use agentid_common::file::FIRST_TREE;

/// include/uapi/linux/btrfs.h: `BTRFS_IOC_INO_LOOKUP`.
const INO_LOOKUP: libc::c_ulong = 0xd000_9412;
/// include/uapi/linux/btrfs_tree.h: `BTRFS_FIRST_FREE_OBJECTID`, the root of every tree.
const ROOT: u64 = 256;

/// include/uapi/linux/btrfs.h: `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct Lookup {
    tree: u64,
    inode: u64,
    name: [u8; 4080],
}

/// The number of the tree that a folder on btrfs is in.
pub fn of(folder: &File) -> io::Result<u32> {
    // A 0 asks for the folder's own tree.
    let mut lookup = Lookup { tree: 0, inode: ROOT, name: [0; 4080] };
    // SAFETY: the command reads and writes one `Lookup`, and keeps nothing.
    let failed = unsafe { libc::ioctl(folder.as_raw_fd(), INO_LOOKUP, &raw mut lookup) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    let number = u32::try_from(lookup.tree).ok().filter(|number| *number >= FIRST_TREE);
    number.ok_or_else(|| io::Error::other("it is in a tree of btrfs that no rule can name"))
}
