//! Does a name fit a glob?
//!
//! What follows the last `*` must be the end of the name, so it is compared first, from behind: of `*.pem`, most names
//! fail at their last byte. The rest is compared from the front, and each `*` takes as little as it can. When a byte
//! does not fit, the latest `*` takes one more; those before it need never take more, because whatever they left is
//! left to the latest as well.
//!
//! All that changes from turn to turn lies beside the name, in memory that the kernel's verifier does not follow:
//! what it saw in one turn it would else take for true in all of them.

use crate::{
    facts::{Facts, Flow, Turn, plain_loop},
    file::{Glob, MAX_GLOB, MAX_GLOBS, MAX_NAME},
    verdict::Fault,
};

/// A name in its bytes, with the room to compare it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// At most [`MAX_NAME`].
    pub length: u32,
    cursor: Cursor,
    /// What is beyond `length` is never looked at.
    pub bytes: [u8; MAX_NAME + 1],
}

/// How far a comparison has come.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// The next glob of the list.
    glob: u32,
    /// The globs of the list that the name fits.
    fits: u32,
    /// Ends of what is not compared yet.
    glob_end: u32,
    name_end: u32,
    glob_at: u32,
    name_at: u32,
    /// Behind the latest `*`; 0 where there is none yet.
    star: u32,
    /// Where the name goes on behind what the latest `*` took.
    taken: u32,
    outcome: u32,
}

const OPEN: u32 = 0;
const FITS: u32 = 1;
const DIFFERS: u32 = 2;

/// Turns that suffice for every name and glob.
///
/// From behind, each turn leaves one byte of the glob fewer. From the front, a turn either advances in the glob, or has
/// the latest `*` take one more byte. The second happens at most once for each byte of the name, because what the stars
/// took never becomes less; between two of them the first happens at most once for each byte of the glob. One turn sees
/// the end. With `g` bytes compared from behind: `g + (MAX_NAME + 1) * (MAX_GLOB - g) + MAX_NAME + 1`.
pub const MAX_TURNS: u32 = (MAX_NAME as u32 + 1) * (MAX_GLOB as u32 + 1);

const _: () = assert!(MAX_GLOB.is_power_of_two() && (MAX_NAME + 1).is_power_of_two());

impl Spelling {
    /// Room for a name.
    pub const fn empty() -> Self {
        let cursor = Cursor {
            glob: 0,
            fits: 0,
            glob_end: 0,
            name_end: 0,
            glob_at: 0,
            name_at: 0,
            star: 0,
            taken: 0,
            outcome: OPEN,
        };
        Self { length: 0, cursor, bytes: [0; MAX_NAME + 1] }
    }

    /// `None` when no file can have such a name, because it is too long.
    pub fn of(name: &[u8]) -> Option<Self> {
        let mut spelling = Self { length: name.len() as u32, ..Self::empty() };
        spelling.bytes[..MAX_NAME].get_mut(..name.len())?.copy_from_slice(name);
        Some(spelling)
    }
}

/// The globs of the list that begins at `first` which the name fits: bit 0 is the first of them.
#[inline(always)]
pub fn fitting<F: Facts>(facts: &F, first: u32, name: &mut Spelling) -> Result<u32, Fault> {
    name.cursor.glob = first;
    name.cursor.fits = 0;
    name.cursor.outcome = OPEN;
    facts.repeat(MAX_GLOBS, &mut Listing { facts, name })?;
    // A list that goes on is longer than any that the compiler makes; one that fails is not at its end either.
    if name.cursor.glob != 0 { Err(Fault::StateLookup) } else { Ok(name.cursor.fits) }
}

/// Whether the name fits the pattern, for those who make the maps. Nothing fits what is too long.
pub fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (Some(glob), Some(mut name)) = (Glob::new(pattern), Spelling::of(name)) else {
        return false;
    };
    begin(&glob, &mut name);
    plain_loop(MAX_TURNS, &mut Comparing { glob: &glob, name: &mut name });
    name.cursor.outcome == FITS
}

/// One glob of a list a turn.
struct Listing<'a, F> {
    facts: &'a F,
    name: &'a mut Spelling,
}

impl<F: Facts> Turn for Listing<'_, F> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> Flow {
        if self.name.cursor.glob == 0 {
            return Flow::Stop;
        }
        let Some(glob) = self.facts.glob(self.name.cursor.glob) else {
            return Flow::Stop;
        };
        if glob.length > MAX_GLOB as u32 || self.name.length > MAX_NAME as u32 {
            return Flow::Stop;
        }
        begin(glob, self.name);
        let compared = self.facts.repeat(MAX_TURNS, &mut Comparing { glob, name: self.name });
        if compared.is_err() || self.name.cursor.outcome == OPEN {
            return Flow::Stop;
        }
        if self.name.cursor.outcome == FITS {
            self.name.cursor.fits |= 1 << (index & 31);
        }
        self.name.cursor.glob = glob.next;
        Flow::GoOn
    }
}

#[inline(always)]
fn begin(glob: &Glob, name: &mut Spelling) {
    name.cursor.glob_end = glob.length;
    name.cursor.name_end = name.length;
    name.cursor.glob_at = 0;
    name.cursor.name_at = 0;
    name.cursor.star = 0;
    name.cursor.taken = 0;
    name.cursor.outcome = OPEN;
}

/// One byte of a glob a turn.
struct Comparing<'a> {
    glob: &'a Glob,
    name: &'a mut Spelling,
}

impl Turn for Comparing<'_> {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> Flow {
        let length = self.name.cursor.glob_end;
        if length == 0 {
            return self.settle(self.name.cursor.name_end == 0);
        }
        match self.sign(length.wrapping_sub(1)) {
            // What is left of the glob ends with a `*`, also when the turn comes back here from the front.
            b'*' => self.front(),
            sign => self.behind(sign),
        }
    }
}

impl Comparing<'_> {
    #[inline(always)]
    fn sign(&self, at: u32) -> u8 {
        self.glob.bytes[at as usize & (MAX_GLOB - 1)]
    }

    /// Whether the sign of the glob stands for that byte of the name.
    #[inline(always)]
    fn equal(&self, sign: u8, at: u32) -> bool {
        sign == b'?' || sign == self.name.bytes[at as usize & MAX_NAME]
    }

    #[inline(always)]
    fn settle(&mut self, fits: bool) -> Flow {
        self.name.cursor.outcome = if fits { FITS } else { DIFFERS };
        Flow::Stop
    }

    #[inline(always)]
    fn behind(&mut self, sign: u8) -> Flow {
        let end = self.name.cursor.name_end;
        if end == 0 || !self.equal(sign, end.wrapping_sub(1)) {
            return self.settle(false);
        }
        self.name.cursor.glob_end = self.name.cursor.glob_end.wrapping_sub(1);
        self.name.cursor.name_end = end.wrapping_sub(1);
        Flow::GoOn
    }

    #[inline(always)]
    fn front(&mut self) -> Flow {
        let (glob_at, name_at) = (self.name.cursor.glob_at, self.name.cursor.name_at);
        let next = glob_at.wrapping_add(1);
        let sign = self.sign(glob_at);
        if sign == b'*' {
            if next == self.name.cursor.glob_end {
                return self.settle(true);
            }
            self.name.cursor.glob_at = next;
            self.name.cursor.star = next;
            self.name.cursor.taken = name_at;
            return Flow::GoOn;
        }
        if name_at >= self.name.cursor.name_end {
            // What a `*` takes more is missing here all the more.
            return self.settle(false);
        }
        if self.equal(sign, name_at) {
            self.name.cursor.glob_at = next;
            self.name.cursor.name_at = name_at.wrapping_add(1);
            return Flow::GoOn;
        }
        if self.name.cursor.star == 0 {
            return self.settle(false);
        }
        let taken = self.name.cursor.taken.wrapping_add(1);
        self.name.cursor.taken = taken;
        self.name.cursor.name_at = taken;
        self.name.cursor.glob_at = self.name.cursor.star;
        Flow::GoOn
    }
}

#[cfg(test)]
mod tests;
