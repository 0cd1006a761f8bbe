//! Where a file is: the walk from its dentry to the root of its filesystem.
//!
//! Names and parents are read while others may rename. Three walks make that safe: the first takes a digest of every
//! (dentry, parent, sequence) and looks for anchors, the second reads the names below them, the third takes the
//! digest again. A rename leaves the dentry with another sequence (fs/dcache.c: `__d_move`), so equal digests mean
//! that all links and names that were read held together at one moment. Otherwise the walk is done again, three times
//! at most, and then given up as a fault.

use core::ffi::c_void;

use agentid_common::{
    decide::file::Search,
    facts::{Facts, Location},
    file::{AnchorKey, MAX_DEPTH, MAX_NAME, Rights, is_pseudo},
    name::{NameHash, NameKey},
    verdict::{Fault, Reason, Refusal},
};
use aya_ebpf::helpers::generated::bpf_loop;

use crate::{
    facts::Live,
    kfield::{Dentry, File},
    maps::{FILESYSTEMS, HOST, WORK, Work, of_inode},
    subject,
};

/// include/linux/dcache.h: names below are compared by the filesystem's own idea of equality.
const DCACHE_OP_COMPARE: u32 = 1 << 1;
/// include/linux/fs.h: the superblock is the kernel's own (pipes, sockets, memfd) and can be mounted by nobody.
const SB_NOUSER: u64 = 1 << 31;
/// include/linux/fs.h: the file is what another filesystem stores this file in, which was judged already.
const FMODE_BACKING: u32 = 1 << 25;

const ATTEMPTS: u32 = 3;

/// Whether the file has no place: it belongs to the kernel's own filesystems.
#[inline(always)]
pub fn is_internal(file: File) -> bool {
    file.dentry().superblock().flags() & SB_NOUSER != 0
}

/// Whether the file is only the storage of one that was judged.
#[inline(always)]
pub fn is_backing(file: File) -> bool {
    file.mode() & FMODE_BACKING != 0
}

/// A file's place in its filesystem.
pub struct Place(pub Dentry);

impl Location for Place {
    #[inline(always)]
    fn run<F: Facts>(&self, _: &F, search: &mut Search) -> Result<(), Refusal> {
        let work = WORK.get_or_create(subject::current_task()).ok_or(Fault::WorkStorage)?;
        let names = HOST.get(0).ok_or(Fault::WalkRead)?.names;
        let mut outcome = Outcome::Moved;
        for _ in 0..ATTEMPTS {
            if outcome == Outcome::Moved {
                outcome = attempt(self.0, search, work, names.k0, names.k1);
            }
        }
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Moved => Err(Fault::Unstable.into()),
            Outcome::Unreadable => Err(Fault::WalkRead.into()),
            Outcome::NoLoop => Err(Fault::Loop.into()),
            Outcome::NoState => Err(Fault::StateLookup.into()),
            Outcome::TooDeep => Err(Refusal::denied(Reason::TooDeep)),
            Outcome::Disconnected => Err(Refusal::denied(Reason::Disconnected)),
            Outcome::Unknown => Err(Refusal::denied(Reason::UnknownFilesystem)),
            Outcome::Folding => Err(Refusal::denied(Reason::CaseFolding)),
        }
    }
}

/// How one attempt ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Outcome {
    Done,
    Moved,
    Unreadable,
    NoLoop,
    NoState,
    TooDeep,
    Disconnected,
    Unknown,
    Folding,
}

/// One reading of the place.
#[inline(never)]
fn attempt(file: Dentry, search: &mut Search, work: *mut Work, k0: u64, k1: u64) -> Outcome {
    let scopes = search.scopes;
    *search = Search::new(scopes);
    let superblock = file.superblock();
    let root = superblock.root();
    let filesystem = number_of(root);

    let mut climb = Climb { at: file, search, filesystem, digest: 0, top: 0, folding: 0 };
    if !repeat(MAX_DEPTH + 1, climb_step, &mut climb) {
        return Outcome::NoLoop;
    }
    let (top, reached, digest, folding) = (climb.top, climb.at, climb.digest, climb.folding);
    if top == 0 {
        return Outcome::TooDeep;
    }
    if reached != root {
        return Outcome::Disconnected;
    }
    let magic = superblock.magic();
    let pseudo = is_pseudo(magic);
    if pseudo {
        search.visit_type(&Live, magic, top - 1);
    }
    let Some(level) = search.top() else {
        return if filesystem == 0 && !pseudo { Outcome::Unknown } else { Outcome::Done };
    };
    if level > 0 {
        if folding != 0 && !pseudo {
            return Outcome::Folding;
        }
        let mut names = Names { at: file, work, k0, k1, failed: 0 };
        if !repeat(level, name_step, &mut names) {
            return Outcome::NoLoop;
        }
        if names.failed != 0 {
            return Outcome::Unreadable;
        }
        let mut descent = Descent { search, work, level, failed: 0 };
        if !repeat(level, descend_step, &mut descent) {
            return Outcome::NoLoop;
        }
        if descent.failed != 0 {
            return Outcome::NoState;
        }
    }
    let mut check = Check { at: file, digest: 0 };
    if !repeat(MAX_DEPTH + 1, check_step, &mut check) {
        return Outcome::NoLoop;
    }
    if check.digest == digest && digest & MOVING == 0 { Outcome::Done } else { Outcome::Moved }
}

/// Our number of the filesystem with this root; 0 when the daemon has never looked at it.
#[inline(always)]
fn number_of(root: Dentry) -> u64 {
    match of_inode(&FILESYSTEMS, root.inode().0.cast()) {
        // SAFETY: a value of inode storage lives as long as its inode, which the superblock holds.
        Some(number) => unsafe { *number },
        None => 0,
    }
}

/// Runs `step` up to `count` times; false when the kernel refuses.
#[inline(always)]
fn repeat<C>(count: u32, step: extern "C" fn(u32, *mut C) -> i64, context: &mut C) -> bool {
    let context: *mut C = context;
    // SAFETY: the verifier follows the callback with this very context.
    unsafe { bpf_loop(count, step as *mut c_void, context.cast(), 0) >= 0 }
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// Bit of a digest that says: a name was being changed while it was read.
const MOVING: u64 = 1;

/// Folds one link of the chain into a digest of all of them.
#[inline(always)]
fn fold(digest: u64, dentry: Dentry, parent: Dentry, sequence: u32) -> u64 {
    let link = (dentry.0 as u64).rotate_left(17) ^ (parent.0 as u64) ^ (u64::from(sequence) << 40);
    let mixed = (digest.rotate_left(7) ^ link).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !MOVING;
    mixed | (digest & MOVING) | u64::from(sequence) & MOVING
}

/// The first walk.
struct Climb<'a> {
    at: Dentry,
    search: &'a mut Search,
    filesystem: u64,
    digest: u64,
    /// Number of dentries up to and including the root, once it is reached.
    top: u32,
    folding: u32,
}

extern "C" fn climb_step(level: u32, climb: *mut Climb<'_>) -> i64 {
    // SAFETY: `repeat` hands the context through.
    let climb = unsafe { &mut *climb };
    let dentry = climb.at;
    let sequence = dentry.sequence();
    let parent = dentry.parent();
    let inode = dentry.inode();
    climb.digest = fold(climb.digest, dentry, parent, sequence);
    climb.folding |= dentry.flags() & DCACHE_OP_COMPARE;
    if climb.filesystem != 0 && !inode.is_null() {
        let key = AnchorKey {
            filesystem: climb.filesystem,
            inode: inode.number(),
            generation: inode.generation(),
            kind: agentid_common::file::ANCHOR_FOLDER,
        };
        climb.search.visit(&Live, &key, level);
    }
    if parent == dentry {
        // From the index: a counter in the context would keep the verifier from seeing that all turns are alike.
        climb.top = level + 1;
        return STOP;
    }
    climb.at = parent;
    GO_ON
}

/// The second walk.
struct Names {
    at: Dentry,
    work: *mut Work,
    k0: u64,
    k1: u64,
    failed: u32,
}

extern "C" fn name_step(level: u32, names: *mut Names) -> i64 {
    // SAFETY: `repeat` hands the context through, and `work` is this task's own.
    let (names, work) = unsafe { (&mut *names, &mut *(*names).work) };
    let length = names.at.name_length();
    if length == 0 || length > MAX_NAME as u32 {
        names.failed = 1;
        return STOP;
    }
    let length = length & MAX_NAME as u32;
    // The tail of the last word must be zero; the words before it are overwritten.
    work.name[(length >> 3) as usize & 31] = 0;
    if !names.at.read_name(work.name.as_mut_ptr().cast(), length) {
        names.failed = 1;
        return STOP;
    }
    let mut hash = NameHash::new(&NameKey { k0: names.k0, k1: names.k1 });
    let whole = length >> 3;
    for index in 0..32 {
        if index >= whole {
            break;
        }
        hash.word(work.name[index as usize & 31]);
    }
    let tail = if length & 7 == 0 { 0 } else { work.name[whole as usize & 31] };
    work.names[level as usize & (MAX_DEPTH as usize - 1)] = hash.finish(tail, u64::from(length));
    names.at = names.at.parent();
    GO_ON
}

/// From the highest entry down to the file.
struct Descent<'a> {
    search: &'a mut Search,
    work: *mut Work,
    level: u32,
    failed: u32,
}

extern "C" fn descend_step(turn: u32, descent: *mut Descent<'_>) -> i64 {
    // SAFETY: `repeat` hands the context through, and `work` is this task's own.
    let (descent, work) = unsafe { (&mut *descent, &*(*descent).work) };
    let level = descent.level.wrapping_sub(turn).wrapping_sub(1);
    let name = work.names[level as usize & (MAX_DEPTH as usize - 1)];
    if descent.search.descend(&Live, level, name).is_err() {
        descent.failed = 1;
        return STOP;
    }
    GO_ON
}

/// The third walk.
struct Check {
    at: Dentry,
    digest: u64,
}

extern "C" fn check_step(_: u32, check: *mut Check) -> i64 {
    // SAFETY: `repeat` hands the context through.
    let check = unsafe { &mut *check };
    let dentry = check.at;
    let parent = dentry.parent();
    let sequence = dentry.sequence();
    check.digest = fold(check.digest, dentry, parent, sequence);
    if parent == dentry {
        return STOP;
    }
    check.at = parent;
    GO_ON
}

/// include/linux/fs.h and include/uapi/asm-generic/fcntl.h.
mod flag {
    pub const FMODE_READ: u32 = 1;
    pub const FMODE_WRITE: u32 = 1 << 1;
    pub const FMODE_CREATED: u32 = 1 << 20;
    pub const O_TRUNC: u32 = 0o1000;
    pub const FMODE_EXEC: u32 = 1 << 5;
    pub const O_TMPFILE: u32 = 0o20_000_000;
}

/// The rights that an open of the file uses.
#[inline(always)]
pub fn wanted(file: File) -> Rights {
    let (mode, flags) = (file.mode(), file.flags());
    if flags & flag::FMODE_EXEC != 0 {
        return Rights::EXEC;
    }
    let mut want = Rights::NONE;
    if mode & flag::FMODE_READ != 0 {
        want = want.union(Rights::READ);
    }
    if mode & flag::FMODE_WRITE != 0 || flags & flag::O_TRUNC != 0 {
        want = want.union(Rights::WRITE);
    }
    if mode & flag::FMODE_CREATED != 0 || flags & flag::O_TMPFILE != 0 {
        want = want.union(Rights::CREATE);
    }
    want
}
