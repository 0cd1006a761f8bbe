//! Where a file is, or would be.

use core::cell::Cell;

use agentid_common::{
    decide::{
        file::Search,
        lifecycle::{Alive, Scopes},
    },
    device,
    facts::{Facts, Location},
    file::BTRFS,
    verdict::{Answer, Fault, Refusal},
};

use super::{
    known::{recall, recalled},
    walk,
};
use crate::{
    facts,
    kfield::{Dentry, File, Inode, SuperBlock, knows_trees},
    maps::{FILESYSTEMS, Work, of_inode},
    subject,
};

/// include/linux/fs.h: the superblock is the kernel's own (pipes, sockets, memfd) and can be mounted by nobody.
const SB_NOUSER: u64 = 1 << 31;
/// include/linux/fs.h: the kernel mounted it for itself, which says nothing where users mount the same superblock too.
const SB_KERNMOUNT: u64 = 1 << 22;
/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFCHR: u16 = 0o020_000;
/// include/uapi/linux/magic.h: a memfd of huge pages. Whoever mounts this type gets a superblock of their own.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// Whether the kernel opens the file in a layer of another filesystem, overlayfs: what stores the file that the task
/// opens, a folder to list, or a file to copy up. What the task asked of the overlay was judged already.
///
/// It does so with lent credentials, by a mount of the overlay's own that no path leads to (fs/namespace.c:
/// `clone_private_mount`). io_uring lends credentials as well, but finds its file by a path or by a descriptor, and such
/// a mount that can be reached by a descriptor, as that of message queues, is of a filesystem that the kernel has mounted
/// for itself. The file's own mark (`FMODE_BACKING`) tells nothing: its bit has moved within 6.12, and where it was is now
/// one that fanotify(7) sets.
#[inline(always)]
pub fn is_in_layer(file: File) -> bool {
    subject::has_lent_credentials()
        && file.mount().is_private()
        && file.superblock().flags() & SB_KERNMOUNT == 0
}

/// The place of a file, or of a name that there is no file for yet.
pub struct Place {
    dentry: Dentry,
    superblock: SuperBlock,
    /// The task's room to search in, once it was asked for; else null.
    work: Cell<*mut Work>,
}

impl Place {
    #[inline(always)]
    fn new(dentry: Dentry, superblock: SuperBlock) -> Self {
        Self { dentry, superblock, work: Cell::new(core::ptr::null_mut()) }
    }

    /// Where an open file was opened.
    #[inline(always)]
    pub fn of_file(file: File) -> Self {
        Self::new(file.dentry(), file.superblock())
    }

    /// A name in a folder.
    #[inline(always)]
    pub fn of_name(dentry: Dentry) -> Self {
        Self::new(dentry, dentry.superblock())
    }

    /// Whether no rule can name it, because it belongs to the kernel's own filesystems.
    #[inline(always)]
    pub fn is_internal(&self) -> bool {
        let flags = self.superblock.flags();
        flags & SB_NOUSER != 0
            || flags & SB_KERNMOUNT != 0 && self.superblock.magic() == HUGETLBFS_MAGIC
    }
}

impl Location for Place {
    type Room = &'static mut Alive;

    #[inline(always)]
    fn room(&self) -> Result<&'static mut Alive, Fault> {
        let work = facts::work()?;
        self.work.set(work);
        // SAFETY: `work` is this task's own, and nothing else of it is in use that is written here.
        Ok(unsafe { &mut (*work).alive })
    }

    #[inline(always)]
    fn search<F: Facts>(
        &self,
        _: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let work = self.prepare(scopes)?;
        let spared = match recall(self.dentry, work) {
            recalled::FILE => true,
            recalled::FOLDER => walk::leaf(work),
            _ => false,
        };
        if !spared {
            self.walk(work)?;
        }
        found(&work.search)
    }

    #[inline(always)]
    fn is_foreign_device(&self) -> bool {
        is_foreign_device(self.dentry.inode(), self.superblock)
    }
}

/// Not inlined: what it needs of the stack is not needed while a decision walks.
#[inline(never)]
fn is_foreign_device(inode: Inode, superblock: SuperBlock) -> bool {
    match inode.mode() & S_IFMT {
        S_IFCHR if device::is_harmless(inode.device()) => false,
        S_IFCHR | S_IFBLK => !superblock.is_of_devices(),
        _ => false,
    }
}

/// A place that is searched for without a look at what is known of its folder, for programs that ask for two: the verifier
/// would follow each way through the one in all ways through the other.
pub struct Afresh(pub Place);

impl Location for Afresh {
    type Room = &'static mut Alive;

    #[inline(always)]
    fn room(&self) -> Result<&'static mut Alive, Fault> {
        self.0.room()
    }

    #[inline(always)]
    fn search<F: Facts>(
        &self,
        _: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let work = self.0.prepare(scopes)?;
        work.keep = 0;
        self.0.walk(work)?;
        found(&work.search)
    }
}

impl Place {
    /// The task's room, for a search by these rules.
    #[inline(always)]
    fn prepare(&self, scopes: &Scopes) -> Result<&'static mut Work, Fault> {
        let mut work = self.work.get();
        if work.is_null() {
            // Of two places only one was asked for it.
            work = facts::work()?;
        }
        // SAFETY: `work` is this task's own, and no other hook of the task can run before this one ends.
        let work = unsafe { &mut *work };
        work.search.scopes = *scopes;
        Ok(work)
    }

    /// The search along all of the way.
    #[inline(always)]
    fn walk(&self, work: &mut Work) -> Result<(), Refusal> {
        let root = self.superblock.root();
        work.file = self.dentry.0 as u64;
        work.root = root.0 as u64;
        work.magic = self.superblock.magic();
        work.folds = u32::from(self.superblock.folds());
        // Where folders of different trees cannot be told apart, nothing is known.
        let is_told = work.magic != BTRFS || knows_trees();
        work.filesystem = if is_told { number_of(root) } else { 0 };
        walk::search(work)
    }
}

/// Our number of the filesystem with this root; 0 when the daemon has never looked at it.
#[inline(always)]
pub fn number_of(root: Dentry) -> u64 {
    match of_inode(&FILESYSTEMS, root.inode().0.cast()) {
        // SAFETY: a value of inode storage lives as long as its inode, which the superblock holds.
        Some(number) => unsafe { *number },
        None => 0,
    }
}

/// A number that the verifier knows nothing about: it would follow each combination of flags through a whole decision
/// of its own, although none of them changes which memory is touched.
#[inline(always)]
pub fn forgotten(value: u32) -> Result<u32, Fault> {
    let work = facts::work()?;
    // SAFETY: `work` is this task's own; what comes out of a map's value is any number.
    unsafe {
        let scratch = &raw mut (*work).scratch;
        core::ptr::write_volatile(scratch, value);
        Ok(core::ptr::read_volatile(scratch))
    }
}
