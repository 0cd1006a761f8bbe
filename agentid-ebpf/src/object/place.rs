//! Where a file is: the walk from its dentry to the root of its filesystem.
//!
//! Names and parents are read while others may rename. Three walks make that safe: the first notes the sequence of
//! every dentry before it follows the parent and looks for anchors, the second reads the names below them, the third
//! compares the sequences. A rename leaves a dentry with another sequence (fs/dcache.c: `__d_move`). The file's own
//! dentry is the same in all walks, so an equal and even sequence means the same parent, and so on up to the root:
//! all links and names that were read held together at one moment. Otherwise the walk is done again, three times at
//! most, and then given up as a fault.

use crate::{
    facts::Live,
    kfield::{Dentry, File, SuperBlock},
    maps::{FILESYSTEMS, HOST, WORK, Work, of_inode},
    subject,
};
use agentid_common::{
    decide::file::Search,
    facts::{Facts, Flow, Location, Turn},
    file::{ANCHOR_FOLDER, AnchorKey, MAX_DEPTH, MAX_NAME, is_pseudo},
    name::{NameHash, NameKey},
    verdict::{Fault, Reason, Refusal},
};

/// include/linux/dcache.h: names below are compared by the filesystem's own idea of equality.
const DCACHE_OP_COMPARE: u32 = 1 << 1;
/// include/linux/fs.h: the superblock is the kernel's own (pipes, sockets, memfd) and can be mounted by nobody.
const SB_NOUSER: u64 = 1 << 31;
/// include/linux/fs.h: the kernel mounted it for itself, which says nothing where users mount the same superblock too.
const SB_KERNMOUNT: u64 = 1 << 22;
/// include/uapi/linux/magic.h: a memfd of huge pages. Whoever mounts this type gets a superblock of their own.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

const ATTEMPTS: u32 = 3;

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
}

impl Place {
    /// Where an open file was opened.
    #[inline(always)]
    pub fn of_file(file: File) -> Self {
        Self { dentry: file.dentry(), superblock: file.superblock() }
    }

    /// A name in a folder.
    #[inline(always)]
    pub fn of_name(dentry: Dentry) -> Self {
        Self { dentry, superblock: dentry.superblock() }
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
    #[inline(always)]
    fn run<F: Facts>(&self, _: &F, search: &mut Search) -> Result<(), Refusal> {
        let work = WORK.get_or_create(subject::current_task()).ok_or(Fault::WorkStorage)?;
        let root = self.superblock.root();
        // SAFETY: `work` is this task's own, and no other hook of the task can run before this one ends.
        unsafe {
            (*work).search = *search;
            (*work).filesystem = number_of(root);
            (*work).magic = self.superblock.magic();
        }
        let mut attempts =
            Attempts { file: self.dentry, root, work, outcome: Err(Fault::Unstable.into()) };
        Live.repeat(ATTEMPTS, &mut attempts)?;
        attempts.outcome?;
        // SAFETY: as above.
        *search = unsafe { (*work).search };
        Ok(())
    }
}

/// Readings of the place, until one holds together.
struct Attempts {
    file: Dentry,
    /// Where the walk must end.
    root: Dentry,
    work: *mut Work,
    outcome: Result<(), Refusal>,
}

impl Turn for Attempts {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> Flow {
        match self.read() {
            Ok(Reading::Held) => self.outcome = Ok(()),
            Ok(Reading::Moved) => return Flow::GoOn,
            Err(refusal) => self.outcome = Err(refusal),
        }
        Flow::Stop
    }
}

/// Whether what was read held together.
#[derive(PartialEq, Eq)]
enum Reading {
    Held,
    Moved,
}

impl Attempts {
    /// One reading.
    #[inline(always)]
    fn read(&mut self) -> Result<Reading, Refusal> {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        work.search = Search::new(work.search.scopes);
        work.top = 0;
        work.folding = 0;
        work.failed = 0;
        work.moved = 0;

        let mut climb = Climb { at: self.file, work };
        Live.repeat(MAX_DEPTH, &mut climb)?;
        let reached = climb.at;
        if work.top == 0 {
            return Err(Refusal::denied(Reason::TooDeep));
        }
        if reached != self.root {
            return Err(Refusal::denied(Reason::Disconnected));
        }
        let pseudo = is_pseudo(work.magic);
        if pseudo {
            visit_type(work);
        }
        match work.search.top() {
            None if work.filesystem == 0 && !pseudo => {
                return Err(Refusal::denied(Reason::UnknownFilesystem));
            }
            None | Some(0) => {}
            Some(_) if work.folding != 0 && !pseudo => {
                return Err(Refusal::denied(Reason::CaseFolding));
            }
            Some(_) => {
                work.search.leap(&Live)?;
                if let Some(level) = work.search.top()
                    && level != 0
                {
                    work.level = level;
                    self.descend()?;
                }
            }
        }
        let mut check = Check { at: self.file, work };
        Live.repeat(work.top, &mut check)?;
        Ok(if work.moved == 0 { Reading::Held } else { Reading::Moved })
    }

    /// Reads the names below the highest entry, and follows them.
    #[inline(always)]
    fn descend(&mut self) -> Result<(), Refusal> {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        let keys = &HOST.get(0).ok_or(Fault::WalkRead)?.names;
        Live.repeat(work.level, &mut Names { at: self.file, work, keys })?;
        if work.failed != 0 {
            return Err(Fault::WalkRead.into());
        }
        Live.repeat(work.level, &mut Descent { work })?;
        if work.failed != 0 { Err(Fault::StateLookup.into()) } else { Ok(()) }
    }
}

/// Looks at the root as a member of its type. Not inlined, so that its keys are off the stack when the walks run.
#[inline(never)]
fn visit_type(work: &mut Work) {
    work.search.visit_type(&Live, work.magic, work.top.wrapping_sub(1));
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

/// An index into what is kept by level.
#[inline(always)]
fn at(level: u32) -> usize {
    level as usize & (MAX_DEPTH as usize - 1)
}

/// The first walk.
struct Climb {
    at: Dentry,
    work: *mut Work,
}

impl Turn for Climb {
    #[inline(always)]
    fn turn(&mut self, level: u32) -> Flow {
        let dentry = self.at;
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        work.sequences[at(level)] = dentry.sequence();
        let parent = dentry.parent();
        let inode = dentry.inode();
        work.folding |= dentry.flags() & DCACHE_OP_COMPARE;
        if work.filesystem != 0 && !inode.is_null() {
            let key = AnchorKey {
                filesystem: work.filesystem,
                inode: inode.number(),
                generation: inode.generation(),
                kind: ANCHOR_FOLDER,
            };
            work.search.visit(&Live, &key, level);
        }
        if parent == dentry {
            work.top = level + 1;
            return Flow::Stop;
        }
        self.at = parent;
        Flow::GoOn
    }
}

/// The second walk.
struct Names<'a> {
    at: Dentry,
    work: *mut Work,
    keys: &'a NameKey,
}

impl Turn for Names<'_> {
    #[inline(always)]
    fn turn(&mut self, level: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        let length = self.at.name_length();
        if length == 0 || length > MAX_NAME as u32 {
            work.failed = 1;
            return Flow::Stop;
        }
        let length = length & MAX_NAME as u32;
        let whole = length >> 3;
        // What the copy leaves of the last word must be zero.
        work.name[whole as usize & 31] = 0;
        if !self.at.read_name(work.name.as_mut_ptr().cast(), length) {
            work.failed = 1;
            return Flow::Stop;
        }
        let mut hash = NameHash::new(self.keys);
        // Hidden from the compiler, which would else drop the bound that 6.1's verifier needs to see.
        let words = opaque(whole);
        for index in 0..32 {
            if index >= words {
                break;
            }
            hash.word(work.name[index as usize & 31]);
        }
        let tail = if length & 7 == 0 { 0 } else { work.name[whole as usize & 31] };
        work.names[at(level)] = hash.finish(tail, u64::from(length));
        self.at = self.at.parent();
        Flow::GoOn
    }
}

/// A number that the verifier knows nothing about: it would follow each combination of flags through a whole decision
/// of its own, although none of them changes which memory is touched.
#[inline(always)]
pub fn forgotten(value: u32) -> Result<u32, Fault> {
    let work = WORK.get_or_create(subject::current_task()).ok_or(Fault::WorkStorage)?;
    // SAFETY: `work` is this task's own; what comes out of a map's value is any number.
    unsafe {
        let scratch = &raw mut (*work).scratch;
        core::ptr::write_volatile(scratch, value);
        Ok(core::ptr::read_volatile(scratch))
    }
}

/// A number that the compiler knows nothing about.
#[inline(always)]
fn opaque(value: u32) -> u32 {
    // SAFETY: reads a local variable.
    unsafe { core::ptr::read_volatile(&raw const value) }
}

/// From the highest entry down to the file.
struct Descent {
    work: *mut Work,
}

impl Turn for Descent {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        let level = work.level.wrapping_sub(index).wrapping_sub(1);
        let name = work.names[at(level)];
        if work.search.descend(&Live, level, name).is_err() {
            work.failed = 1;
            return Flow::Stop;
        }
        Flow::GoOn
    }
}

/// The third walk.
struct Check {
    at: Dentry,
    work: *mut Work,
}

impl Turn for Check {
    #[inline(always)]
    fn turn(&mut self, level: u32) -> Flow {
        let parent = self.at.parent();
        let sequence = self.at.sequence();
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        let before = work.sequences[at(level)];
        // Odd: the dentry was being changed in the first walk already.
        if sequence != before || sequence & 1 != 0 {
            work.moved = 1;
            return Flow::Stop;
        }
        self.at = parent;
        Flow::GoOn
    }
}
