//! The hash by which the automaton knows a file name.
//!
//! SipHash-1-3 over the bytes of the name, under a key that is drawn at random when the maps are created: whoever
//! chooses names cannot aim at a collision with a name that a rule grants. The state advances one 64-bit word at a
//! time, because that is what a kernel program can do in a bounded loop; the result equals the reference algorithm
//! (Aumasson and Bernstein, "SipHash: a fast short-input PRF", with 1 compression and 3 finalization rounds).

/// The secret of one set of maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameKey {
    pub k0: u64,
    pub k1: u64,
}

/// A hash in the making.
#[derive(Clone, Copy)]
pub struct NameHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl NameHash {
    #[inline(always)]
    pub fn new(key: &NameKey) -> Self {
        Self {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// Takes eight bytes of the name, little endian.
    #[inline(always)]
    pub fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// Takes the last `length % 8` bytes, padded with zeros, and gives the hash.
    #[inline(always)]
    pub fn finish(mut self, tail: u64, length: u64) -> u64 {
        self.word(tail | length << 56);
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

/// The hash of a whole name.
pub fn hash(key: &NameKey, name: &[u8]) -> u64 {
    let mut state = NameHash::new(key);
    let mut words = name.chunks_exact(8);
    for chunk in &mut words {
        state.word(little_endian(chunk));
    }
    state.finish(little_endian(words.remainder()), name.len() as u64)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::hash::Hasher;
    use std::{collections::hash_map::DefaultHasher, vec::Vec};

    use super::*;

    /// The standard library's default hasher is SipHash-1-3 with a zero key.
    #[test]
    fn equals_the_reference_for_every_length() {
        for length in 0..=crate::file::MAX_NAME {
            let name: Vec<u8> = (0..length).map(|byte| (byte * 7 + length) as u8).collect();
            let mut reference = DefaultHasher::new();
            reference.write(&name);
            assert_eq!(hash(&NameKey::default(), &name), reference.finish(), "length {length}");
        }
    }

    #[test]
    fn depends_on_both_halves_of_the_key() {
        let plain = hash(&NameKey::default(), b"secret");
        assert_ne!(plain, hash(&NameKey { k0: 1, k1: 0 }, b"secret"));
        assert_ne!(plain, hash(&NameKey { k0: 0, k1: 1 }, b"secret"));
    }
}
