//! What an earlier search found for a folder and one run's rules.
//!
//! A folder has one name in one folder above it, up to the root, so a search that has come down to it comes to the same
//! the next time. What is remembered of it is taken for true as long as all of this holds:
//!
//! - The folder is the same. It is known by the address of its inode, and by how many folders of such an address have
//!   gone out of the kernel's memory (`hook/inode_free.rs`), so that another one at the same address is not taken for it.
//! - Nothing was renamed since, anywhere: the sequence of `rename_lock` is the same, and even. A sequence is a number of
//!   32 bits; it cannot come round within the time for which a memory is good.
//! - The daemon's tables have not been touched: their edition is the same, and even.
//!
//! Whether the run is alive is no part of it, and asked each time.
//!
//! One memory is an element of an array, in a place that follows from the folder and the rules; one that falls on another's
//! place takes it. It is written under a version, odd meanwhile, so that a reader never takes halves of two for one.

use core::ptr::{read_volatile, write_volatile};

use agentid_common::{
    decide::file::Head,
    file::{DEAD, HEADS},
    map::{EDITION_OF_FILES, KNOWN_BITS, LIVES_BITS},
};
use aya_ebpf::helpers::generated::bpf_jiffies64;

use crate::{
    kfield::{Dentry, Inode, renames},
    maps::{self, KNOWN, LIVES, Work},
};

/// For how many ticks of the kernel's a memory is good: a minute at 250 a second.
const GOOD_FOR: u64 = 1 << 14;
/// Spreads what differs in any bit over the highest ones (Knuth, "The Art of Computer Programming" 6.4: the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// More than will ever go.
const NO_LIFE: u64 = u64::MAX;

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

/// The value of [`KNOWN`].
#[repr(C)]
pub struct Known {
    /// Odd while the rest is written, and another one afterwards.
    version: u64,
    /// Address of the folder's inode.
    folder: u64,
    policy: u64,
    params: u64,
    /// The tables' edition.
    edition: u64,
    /// In ticks since the kernel was started.
    since: u64,
    life: u64,
    /// The sequence of `rename_lock`.
    renames: u32,
    reserved: u32,
    /// At the folder, or below it where the name does not matter.
    heads: [Head; HEADS],
}

/// What a search must find unchanged at its end for its result to be kept.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Circumstances {
    edition: u64,
    pub renames: u32,
    reserved: u32,
}

impl Circumstances {
    /// Whether they are the same now, and nothing is being changed.
    #[inline(always)]
    fn hold(&self) -> bool {
        self.edition & 1 == 0
            && self.renames & 1 == 0
            && self.edition == maps::edition(EDITION_OF_FILES)
            && self.renames == renames()
    }
}

/// How far a memory leads.
pub mod recalled {
    /// Nowhere: nothing good is known of the folder.
    pub const NOTHING: u32 = 0;
    /// To the folder. The file's name matters, and is laid out as step 0.
    pub const FOLDER: u32 = 1;
    /// To the file: `work.search` has come to its end.
    pub const FILE: u32 = 2;
}

/// Whether a search for this file can be spared, because its folder is known. Not inlined: its stack is free again when
/// something is searched for.
#[inline(never)]
pub fn recall(dentry: Dentry, work: &mut Work) -> u32 {
    work.keep = u32::from(!may_be_folder(dentry.inode()));
    let parent = dentry.parent();
    let folder = address(work, parent.inode());
    if work.keep == 0 || folder == 0 {
        return recalled::NOTHING;
    }
    let Some(known) = KNOWN.get_ptr(place(folder, work)) else { return recalled::NOTHING };
    // SAFETY: an array's value never moves or goes away. What is read may be written meanwhile, which the version tells.
    let (version, found) = unsafe {
        let version = read_volatile(&raw const (*known).version);
        work.search.heads = read_volatile(&raw const (*known).heads);
        work.circumstances.renames = read_volatile(&raw const (*known).renames);
        let found = version & 1 == 0
            && read_volatile(&raw const (*known).folder) == folder
            && read_volatile(&raw const (*known).policy) == work.search.scopes.policy
            && read_volatile(&raw const (*known).params) == work.search.scopes.params
            && read_volatile(&raw const (*known).edition) == maps::edition(EDITION_OF_FILES)
            && read_volatile(&raw const (*known).life) == life(folder)
            && ticks().wrapping_sub(read_volatile(&raw const (*known).since)) < GOOD_FOR;
        (version, found)
    };
    // SAFETY: as above.
    let unchanged = unsafe { read_volatile(&raw const (*known).version) } == version;
    // The file is in this folder after the memory was read, and before the sequence is compared: so long nothing was
    // renamed since the memory was made.
    if !found || !unchanged || dentry.parent() != parent {
        return recalled::NOTHING;
    }
    match work.search.top() {
        None | Some(0) if renames() == work.circumstances.renames => recalled::FILE,
        None | Some(0) => recalled::NOTHING,
        Some(_) => {
            let step = &mut work.steps[0];
            step.name = dentry.name_address();
            step.length = dentry.name_length();
            recalled::FOLDER
        }
    }
}

/// Notes the circumstances in which a search begins. Not inlined, so that it takes nothing of the stack that the walk
/// needs.
#[inline(never)]
pub fn begin(work: &mut Work) {
    work.folder = 0;
    work.circumstances =
        Circumstances { edition: maps::edition(EDITION_OF_FILES), renames: renames(), reserved: 0 };
}

/// Remembers what a search has found at the folder, if it may be; `work.heads` are its heads there. Not inlined either.
#[inline(never)]
pub fn keep(work: &Work) {
    if work.keep == 0 || work.folder == 0 || !work.circumstances.hold() {
        return;
    }
    let Some(known) = KNOWN.get_ptr_mut(place(work.folder, work)) else { return };
    let life = life(work.folder);
    if life == NO_LIFE {
        return;
    }
    // SAFETY: an array's value never moves or goes away; whoever makes the version odd writes the rest alone.
    unsafe {
        let version = read_volatile(&raw const (*known).version);
        if version & 1 != 0 || !maps::take(&raw mut (*known).version, version) {
            return;
        }
        write_volatile(&raw mut (*known).folder, work.folder);
        write_volatile(&raw mut (*known).policy, work.search.scopes.policy);
        write_volatile(&raw mut (*known).params, work.search.scopes.params);
        write_volatile(&raw mut (*known).edition, work.circumstances.edition);
        write_volatile(&raw mut (*known).since, ticks());
        write_volatile(&raw mut (*known).life, life);
        write_volatile(&raw mut (*known).renames, work.circumstances.renames);
        write_volatile(&raw mut (*known).heads, work.heads);
        write_volatile(&raw mut (*known).version, version.wrapping_add(2));
    }
}

/// Counts that the folder with this inode is gone. 0, where the address could not be read, stands for no folder.
#[inline(always)]
pub fn forget(inode: u64) {
    if let Some(life) = LIVES.get_ptr_mut(life_of(inode)) {
        crate::count::add(life, 1);
    }
}

/// How many folders of this address have gone; no number where that cannot be told.
#[inline(always)]
fn life(folder: u64) -> u64 {
    match LIVES.get_ptr(life_of(folder)) {
        // SAFETY: an array's value never moves or goes away.
        Some(life) => unsafe { read_volatile(life) },
        None => NO_LIFE,
    }
}

#[inline(always)]
fn life_of(folder: u64) -> u32 {
    (folder.wrapping_mul(SPREAD) >> (64 - LIVES_BITS)) as u32
}

#[inline(always)]
fn place(folder: u64, work: &Work) -> u32 {
    let scopes = &work.search.scopes;
    let mixed = folder ^ scopes.policy.rotate_left(24) ^ scopes.params.rotate_left(44);
    (mixed.wrapping_mul(SPREAD) >> (64 - KNOWN_BITS)) as u32
}

/// The address as a number: the verifier lets nobody calculate with a pointer.
#[inline(always)]
fn address(work: &mut Work, inode: Inode) -> u64 {
    work.folder = inode.0 as u64;
    // SAFETY: `work` is this task's own; what comes out of a map's value is any number.
    unsafe { read_volatile(&raw const work.folder) }
}

/// A folder may have an entry of its own. A file of no kind is a load that has failed.
#[inline(always)]
fn may_be_folder(inode: Inode) -> bool {
    !inode.is_null() && matches!(inode.mode() & S_IFMT, 0 | S_IFDIR)
}

#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { bpf_jiffies64() }
}

const _: () =
    assert!(DEAD == 0, "an element that was never written is of no folder and has no state");
