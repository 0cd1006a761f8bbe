//! Where a file is: the walk from its dentry to the root of its filesystem.
//!
//! Names and parents are read while others may rename. Three walks make that safe: the first notes the sequence of
//! every dentry before it follows the parent and looks for anchors, the second reads the names below them, the third
//! compares the sequences. A rename leaves a dentry with another sequence (fs/dcache.c: `__d_move`). The file's own
//! dentry is the same in all walks, so an equal and even sequence means the same parent, and so on up to the root:
//! all links and names that were read held together at one moment. Otherwise the walk is done again, three times at
//! most, and then given up as a fault.

use core::marker::PhantomData;

use crate::{
    facts::Live,
    kfield::{Dentry, File, SuperBlock, read},
    maps::{FILESYSTEMS, HOST, WORK, Work, of_inode},
    subject,
};
use agentid_common::{
    decide::{file::Search, lifecycle::Scopes},
    facts::{Facts, Flow, Location, Spell, Turn},
    file::{ANCHOR_FOLDER, AnchorKey, MAX_DEPTH, MAX_NAME, Rights, is_pseudo},
    glob::Spelling,
    name::NameHash,
    verdict::{Answer, Fault, Reason, Refusal},
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
    fn search<F: Facts>(
        &self,
        _: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let work = WORK.get_or_create(subject::current_task()).ok_or(Fault::WorkStorage)?;
        let root = self.superblock.root();
        // SAFETY: `work` is this task's own, and no other hook of the task can run before this one ends.
        unsafe {
            (*work).search.scopes = *scopes;
            (*work).filesystem = number_of(root);
            (*work).magic = self.superblock.magic();
        }
        let mut attempts =
            Attempts { file: self.dentry, root, work, outcome: Err(Fault::Unstable.into()) };
        Live.repeat(ATTEMPTS, &mut attempts)?;
        attempts.outcome?;
        // SAFETY: as above.
        found(unsafe { &(*work).search })
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
        let read = self.read();
        // SAFETY: `work` is this task's own.
        if read.is_ok() && unsafe { (*self.work).moved } != 0 {
            return Flow::GoOn;
        }
        self.outcome = read;
        Flow::Stop
    }
}

impl Attempts {
    /// One reading. It did not hold together when something was moved.
    #[inline(always)]
    fn read(&self) -> Result<(), Refusal> {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        work.search = Search::new(work.search.scopes);
        work.top = 0;
        work.folding = 0;
        work.failed = 0;
        work.moved = 0;

        let mut walk = Walk { at: self.file, work };
        walk.each::<Climb>(MAX_DEPTH)?;
        if work.top == 0 {
            return Err(Refusal::denied(Reason::TooDeep));
        }
        if walk.at != self.root {
            return Err(Refusal::denied(Reason::Disconnected));
        }
        work.pseudo = u32::from(is_pseudo(work.magic));
        if work.pseudo != 0 {
            visit_type(work);
        }
        match work.search.top() {
            None if work.filesystem == 0 && work.pseudo == 0 => {
                return Err(Refusal::denied(Reason::UnknownFilesystem));
            }
            None | Some(0) => {}
            Some(_) if work.folding != 0 && work.pseudo == 0 => {
                return Err(Refusal::denied(Reason::CaseFolding));
            }
            Some(_) => {
                work.search.leap(&Live)?;
                if let Some(level) = work.search.top()
                    && level != 0
                {
                    work.level = level;
                    walk.at = self.file;
                    descend(&mut walk)?;
                }
            }
        }
        walk.at = self.file;
        walk.each::<Check>(work.top)?;
        Ok(())
    }
}

/// Reads the names below the highest entry, and follows them.
#[inline(always)]
fn descend(walk: &mut Walk) -> Result<(), Refusal> {
    // SAFETY: `work` is this task's own.
    let work = unsafe { &mut *walk.work };
    walk.each::<Names>(work.level)?;
    if work.failed != 0 {
        return Err(Fault::WalkRead.into());
    }
    work.spelled = 0;
    walk.each::<Descent>(work.level)?;
    match work.failed {
        0 => Ok(()),
        // The daemon's tables, or something in the kernel that can be told apart only by its fault.
        fault => Err(Fault::from_u32(fault).unwrap_or(Fault::StateLookup).into()),
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

/// Where a walk is. One for all walks, one after the other: there is little stack.
struct Walk {
    at: Dentry,
    work: *mut Work,
}

/// What is done in each turn of a walk.
trait Stride {
    fn stride(walk: &mut Walk, index: u32) -> Flow;
}

#[repr(transparent)]
struct Striding<S>(Walk, PhantomData<S>);

impl<S: Stride> Turn for Striding<S> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> Flow {
        S::stride(&mut self.0, index)
    }
}

impl Walk {
    #[inline(always)]
    fn each<S: Stride>(&mut self, count: u32) -> Result<(), Fault> {
        let walk: *mut Self = self;
        // SAFETY: the other type has the same layout.
        Live.repeat(count, unsafe { &mut *walk.cast::<Striding<S>>() })
    }
}

/// The first walk.
enum Climb {}

impl Stride for Climb {
    #[inline(always)]
    fn stride(walk: &mut Walk, level: u32) -> Flow {
        let dentry = walk.at;
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
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
        walk.at = parent;
        Flow::GoOn
    }
}

/// The second walk.
enum Names {}

impl Stride for Names {
    #[inline(always)]
    fn stride(walk: &mut Walk, level: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
        let length = walk.at.name_length();
        if length == 0 || length > MAX_NAME as u32 {
            work.failed = Fault::WalkRead as u32;
            return Flow::Stop;
        }
        let length = length & MAX_NAME as u32;
        let whole = length >> 3;
        // What the copy leaves of the last word must be zero.
        work.name[whole as usize & 31] = 0;
        if !walk.at.read_name(work.name.as_mut_ptr().cast(), length) {
            work.failed = Fault::WalkRead as u32;
            return Flow::Stop;
        }
        let Some(host) = HOST.get(0) else {
            work.failed = Fault::WalkRead as u32;
            return Flow::Stop;
        };
        let mut hash = NameHash::new(&host.names);
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
        work.addresses[at(level)] = walk.at.name_address();
        work.lengths[at(level)] = length;
        walk.at = walk.at.parent();
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

/// The name at a level, read once more where its bytes are asked for.
struct NameAt {
    level: u32,
    work: *mut Work,
}

impl Spell for NameAt {
    #[inline(always)]
    fn spell(&mut self) -> Result<&mut Spelling, Fault> {
        // SAFETY: `work` is this task's own, and nothing else of it is in use that is written here.
        let work = unsafe { &mut *self.work };
        if work.spelled != self.level.wrapping_add(1) {
            let length = work.lengths[at(self.level)] & MAX_NAME as u32;
            let bytes = work.spelling.bytes.as_mut_ptr();
            if !read(bytes, length, work.addresses[at(self.level)]) {
                return Err(Fault::WalkRead);
            }
            work.spelling.length = length;
            work.spelled = self.level.wrapping_add(1);
        }
        Ok(&mut work.spelling)
    }
}

/// From the highest entry down to the file.
enum Descent {}

impl Stride for Descent {
    #[inline(always)]
    fn stride(walk: &mut Walk, index: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
        let level = work.level.wrapping_sub(index).wrapping_sub(1);
        let name = work.names[at(level)];
        let mut spelled = NameAt { level, work };
        if let Err(fault) = work.search.descend(&Live, level, name, &mut spelled) {
            work.failed = fault as u32;
            return Flow::Stop;
        }
        Flow::GoOn
    }
}

/// The third walk.
enum Check {}

impl Stride for Check {
    #[inline(always)]
    fn stride(walk: &mut Walk, level: u32) -> Flow {
        let parent = walk.at.parent();
        let sequence = walk.at.sequence();
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
        let before = work.sequences[at(level)];
        // Odd: the dentry was being changed in the first walk already.
        if sequence != before || sequence & 1 != 0 {
            work.moved = 1;
            return Flow::Stop;
        }
        walk.at = parent;
        Flow::GoOn
    }
}

/// Numbers of bits in `f_mode` and `f_flags`: include/linux/fs.h and include/uapi/asm-generic/fcntl.h.
mod bit {
    pub const FMODE_READ: u32 = 0;
    pub const FMODE_WRITE: u32 = 1;
    pub const FMODE_PATH: u32 = 14;
    pub const FMODE_CREATED: u32 = 20;
    pub const O_TRUNC: u32 = 9;
    pub const FMODE_EXEC: u32 = 5;
    pub const O_TMPFILE: u32 = 22;
}

/// The rights that an open of the file uses.
///
/// Without a branch: the verifier would follow each combination of flags through the whole decision, and take four
/// times as long.
#[inline(always)]
pub fn wanted(file: File) -> Rights {
    let (mode, flags) = (file.mode(), file.flags());

    let read = is(mode, bit::FMODE_READ);
    let write = is(mode, bit::FMODE_WRITE);
    // The access mode 3 gives a descriptor for ioctl; like fs/namei.c we ask for both rights then.
    let neither = (read | write) ^ 1;
    let create = is(mode, bit::FMODE_CREATED) | is(flags, bit::O_TMPFILE);
    let open = select(read | neither, Rights::READ)
        | select(write | neither | is(flags, bit::O_TRUNC), Rights::WRITE)
        | select(create, Rights::CREATE);
    // An open for execution reads as well, but that is not what is asked.
    let exec = is(flags, bit::FMODE_EXEC);
    Rights(select(exec ^ 1, Rights(open)) | select(exec, Rights::EXEC))
}

/// The rights that a file is open with; none for a descriptor that is only a path (`O_PATH`), through which nothing can
/// be read or written.
#[inline(always)]
pub fn held(file: File) -> Rights {
    let mode = file.mode();
    let (read, write) = (is(mode, bit::FMODE_READ), is(mode, bit::FMODE_WRITE));
    // The access mode 3, as above.
    let neither = (read | write | is(mode, bit::FMODE_PATH)) ^ 1;
    Rights(select(read | neither, Rights::READ) | select(write | neither, Rights::WRITE))
}

/// 1 when the bit is set, else 0.
#[inline(always)]
fn is(word: u32, bit: u32) -> u32 {
    word >> bit & 1
}

/// The right when the condition is 1, none when it is 0.
#[inline(always)]
fn select(condition: u32, right: Rights) -> u32 {
    right.0 & condition.wrapping_neg()
}
