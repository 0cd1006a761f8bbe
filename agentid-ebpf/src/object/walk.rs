//! The walk from a file's dentry to the root of its filesystem, and back down by the names.
//!
//! Names and parents are read while others may rename. Three passes make that safe: on the way up, the sequence of every
//! dentry is noted before its name and its parent; on the way down, the names are read; at last the sequences are
//! compared. A rename leaves a dentry with another sequence (fs/dcache.c: `__d_move`). The file's own dentry is the same
//! in all passes, so an equal and even sequence means the same parent, and so on up to the root: all links and names that
//! were read held together at one moment. Otherwise the walk is done again, three times at most, and then given up as a
//! fault.
//!
//! The walk is a function of its own for the verifier, which goes through it once, whatever a hook does before and
//! behind it (see `apart`). To such a function nothing of the kernel's can be handed over. So it knows dentries by their
//! addresses, and copies what it reads of them.

use core::marker::PhantomData;

use agentid_common::{
    decide::{file::Search, unix},
    facts::{Facts, Flow, Turn},
    file::{ANCHOR_FOLDER, AnchorKey, BTRFS, MAX_DEPTH, MAX_NAME, is_pseudo},
    glob::Spelling,
    name::NameHash,
    verdict::{Fault, Reason, Refusal},
};

use super::known;
use crate::{
    facts::Live,
    kfield::{DCACHE_OP_COMPARE, number_and_generation_at, read, renames, sequence_at, tree_at},
    maps::{HOST, Work},
};

/// What comes of one walk.
mod outcome {
    /// The search has been made.
    pub const FOUND: u32 = 0;
    /// Something was renamed meanwhile.
    pub const MOVED: u32 = 1;
    /// `denied` or `failed` says why not.
    pub const REFUSED: u32 = 2;
}

/// Searches for what is laid out in the task's own room, and leaves what it finds there.
#[inline(always)]
pub fn search(work: &mut Work) -> Result<(), Refusal> {
    let mut outcome = agentid_walk(work);
    if outcome == outcome::MOVED {
        outcome = agentid_walk(work);
    }
    if outcome == outcome::MOVED {
        outcome = agentid_walk(work);
    }
    match outcome {
        outcome::FOUND => Ok(()),
        outcome::MOVED => Err(Fault::Unstable.into()),
        _ => Err(refusal(work)),
    }
}

#[inline(always)]
fn refusal(work: &Work) -> Refusal {
    match Reason::from_u32(work.denied) {
        Some(Reason::None) | None => {}
        Some(reason) => return Refusal::denied(reason),
    }
    // The daemon's tables, or something in the kernel that can be told apart only by its fault.
    Fault::from_u32(work.failed).unwrap_or(Fault::StateLookup).into()
}

/// One walk.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_walk(work: *mut Work) -> u32 {
    // SAFETY: the caller's own.
    let Some(work) = (unsafe { work.as_mut() }) else { return outcome::REFUSED };
    work.search = Search::new(work.search.scopes);
    work.top = 0;
    work.folding = work.folds;
    work.failed = 0;
    work.denied = 0;
    work.moved = 0;
    known::begin(work);
    match walk(work) {
        Ok(()) if work.moved != 0 => outcome::MOVED,
        Ok(()) => {
            known::keep(work);
            outcome::FOUND
        }
        Err(Refusal::Denied { reason, .. }) => {
            work.denied = reason as u32;
            outcome::REFUSED
        }
        // No place is a socket.
        Err(Refusal::Unsupported(_)) => {
            work.denied = Reason::Protocol as u32;
            outcome::REFUSED
        }
        Err(Refusal::Fault(fault)) => {
            work.failed = fault as u32;
            outcome::REFUSED
        }
    }
}

#[inline(always)]
fn walk(work: &mut Work) -> Result<(), Refusal> {
    let root = work.root;
    let mut walk = Walk { at: work.file, work };
    walk.each::<Climb>(MAX_DEPTH)?;
    if work.failed != 0 {
        return Err(Fault::WalkRead.into());
    }
    if work.top == 0 {
        return Err(Refusal::denied(Reason::TooDeep));
    }
    if walk.at != root {
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
            if !leap(work) {
                return Err(Fault::StateLookup.into());
            }
            if let Some(level) = work.search.top()
                && level != 0
            {
                work.level = level;
                walk.each::<Descend>(level.wrapping_sub(1))?;
                if work.failed != 0 || !step_over(work) {
                    return Err(Fault::from_u32(work.failed).unwrap_or(Fault::StateLookup).into());
                }
            }
        }
    }
    work.heads = work.search.heads;
    if work.search.top().is_some_and(|level| level != 0) {
        work.level = 1;
        walk.each::<Descend>(1)?;
        if work.failed != 0 {
            return Err(Fault::from_u32(work.failed).unwrap_or(Fault::StateLookup).into());
        }
    }
    walk.each::<Check>(work.top)?;
    Ok(())
}

/// Goes from the folder, whose heads are known, to the file whose name is laid out as step 0; false when it cannot be done,
/// or something was renamed since the folder's heads were found.
#[inline(always)]
pub fn leaf(work: &mut Work) -> bool {
    agentid_leaf(work) == outcome::FOUND
}

/// The last step of a search alone. A function of its own for the verifier, as the walk is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_leaf(work: *mut Work) -> u32 {
    // SAFETY: the caller's own.
    let Some(work) = (unsafe { work.as_mut() }) else { return outcome::REFUSED };
    if !read_name(work, 0) || renames() != work.circumstances.renames {
        return outcome::MOVED;
    }
    match work.search.descend(&Live, 0, work.hash, &mut work.name) {
        Ok(()) => outcome::FOUND,
        Err(_) => outcome::REFUSED,
    }
}

/// Searches for what the rules say of an abstract name, and leaves what it finds in the task's own room.
#[inline(always)]
pub fn called(work: &mut Work, address: u64, length: u32) -> Result<(), Fault> {
    work.steps[0].name = address;
    work.steps[0].length = length;
    match agentid_called(work) {
        outcome::FOUND => Ok(()),
        _ => Err(Fault::from_u32(work.failed).unwrap_or(Fault::StateLookup)),
    }
}

/// A function of its own for the verifier, as the walk is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_called(work: *mut Work) -> u32 {
    // SAFETY: the caller's own.
    let Some(work) = (unsafe { work.as_mut() }) else { return outcome::REFUSED };
    work.search = Search::new(work.search.scopes);
    let looked_up = if read_name(work, 0) {
        unix::look_up(&Live, &mut work.search, work.hash, &mut work.name)
    } else {
        Err(Fault::AddressRead)
    };
    match looked_up {
        Ok(()) => outcome::FOUND,
        Err(fault) => {
            work.failed = fault as u32;
            outcome::REFUSED
        }
    }
}

/// Takes the heads at the folder on where the file's name does not matter; false when a state is missing.
#[inline(never)]
fn step_over(work: &mut Work) -> bool {
    work.search.step_over(&Live).is_ok()
}

/// Looks at the root as a member of its type. Not inlined, so that its keys are off the stack when the walks run.
#[inline(never)]
fn visit_type(work: &mut Work) {
    work.search.visit_type(&Live, work.magic, work.top.wrapping_sub(1));
}

/// Goes down at once where names do not matter; false when a state is missing. Not inlined for the same reason.
#[inline(never)]
fn leap(work: &mut Work) -> bool {
    work.search.leap(&Live).is_ok()
}

/// An index into what is kept by level.
#[inline(always)]
fn at(level: u32) -> usize {
    level as usize & (MAX_DEPTH as usize - 1)
}

/// Where a pass is. One for all passes, one after the other: there is little stack.
struct Walk {
    at: u64,
    work: *mut Work,
}

/// What is done in each turn of a pass.
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

/// From the file up to the root.
enum Climb {}

impl Stride for Climb {
    #[inline(always)]
    fn stride(walk: &mut Walk, level: u32) -> Flow {
        let dentry = walk.at;
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
        if !work.head.copy(dentry) {
            work.failed = Fault::WalkRead as u32;
            return Flow::Stop;
        }
        let head = &work.head;
        let step = &mut work.steps[at(level)];
        step.dentry = dentry;
        step.name = head.name();
        step.length = head.name_length();
        step.sequence = head.sequence();
        work.folding |= head.flags() & DCACHE_OP_COMPARE;
        let (parent, inode) = (head.parent(), head.inode());
        if level == 1 {
            work.folder = inode;
        }
        if work.filesystem != 0 && inode != 0 {
            let Some((number, generation)) = number_and_generation_at(inode) else {
                work.failed = Fault::WalkRead as u32;
                return Flow::Stop;
            };
            let kind = if work.magic == BTRFS { tree_at(inode) } else { Some(ANCHOR_FOLDER) };
            let Some(kind) = kind else {
                work.failed = Fault::WalkRead as u32;
                return Flow::Stop;
            };
            let key = AnchorKey { filesystem: work.filesystem, inode: number, generation, kind };
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

/// From the highest entry down to the file, name by name.
enum Descend {}

impl Stride for Descend {
    #[inline(always)]
    fn stride(walk: &mut Walk, index: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
        let level = work.level.wrapping_sub(index).wrapping_sub(1);
        if !read_name(work, level) {
            work.failed = Fault::WalkRead as u32;
            return Flow::Stop;
        }
        if let Err(fault) = work.search.descend(&Live, level, work.hash, &mut work.name) {
            work.failed = fault as u32;
            return Flow::Stop;
        }
        Flow::GoOn
    }
}

/// Reads the name at a level, and its hash; false when it cannot be read.
#[inline(always)]
fn read_name(work: &mut Work, level: u32) -> bool {
    agentid_name(work, level) != 0
}

/// A function of its own also because the hash takes registers and stack, that are then free for what follows the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_name(work: *mut Work, level: u32) -> u32 {
    // SAFETY: the caller's own.
    unsafe { work.as_mut() }.is_some_and(|work| name_at(work, level)).into()
}

#[inline(always)]
fn name_at(work: &mut Work, level: u32) -> bool {
    let step = &work.steps[at(level)];
    let length = step.length;
    if length == 0 || length > MAX_NAME as u32 {
        return false;
    }
    let length = length & MAX_NAME as u32;
    let (whole, address) = (length >> 3, step.name);
    work.name.length = length;
    // What the copy leaves of the last word must be zero.
    *word(&mut work.name, whole) = 0;
    if !read(work.name.bytes.as_mut_ptr(), length, address) {
        return false;
    }
    let Some(host) = HOST.get(0) else {
        return false;
    };
    let mut hash = NameHash::new(&host.names);
    // Hidden from the compiler, which would else drop the bound that 6.1's verifier needs to see.
    let words = opaque(whole);
    for index in 0..32 {
        if index >= words {
            break;
        }
        hash.word(*word(&mut work.name, index));
    }
    let tail = if length & 7 == 0 { 0 } else { *word(&mut work.name, whole) };
    work.hash = hash.finish(tail, u64::from(length));
    true
}

/// Eight bytes of a name, little endian.
#[inline(always)]
fn word(name: &mut Spelling, index: u32) -> &mut u64 {
    const WORDS: usize = (MAX_NAME + 1) / 8;
    const { assert!(core::mem::offset_of!(Spelling, bytes).is_multiple_of(align_of::<u64>())) };
    // SAFETY: the words fill the bytes, and lie as words must.
    let words = unsafe { &mut *(&raw mut name.bytes).cast::<[u64; WORDS]>() };
    &mut words[index as usize & (WORDS - 1)]
}

/// A number that the compiler knows nothing about.
#[inline(always)]
fn opaque(value: u32) -> u32 {
    // SAFETY: reads a local variable.
    unsafe { core::ptr::read_volatile(&raw const value) }
}

/// Whether what was read held together.
enum Check {}

impl Stride for Check {
    #[inline(always)]
    fn stride(walk: &mut Walk, level: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *walk.work };
        let step = work.steps[at(level)];
        let mut sequence = 0;
        // Odd: the dentry was being changed on the way up already.
        if !sequence_at(step.dentry, &mut sequence)
            || sequence != step.sequence
            || sequence & 1 != 0
        {
            work.moved = 1;
            return Flow::Stop;
        }
        Flow::GoOn
    }
}
