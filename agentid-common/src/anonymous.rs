//! Descriptors of the kernel's that are no file's, and which of them let nobody reach anything.
//!
//! They lie in a filesystem of their own (fs/anon_inodes.c), each under a name that says what it is. Whoever has one of the
//! others acts through it: on a ring of io_uring in its maker's name, on faults or system calls of another process, on a mount
//! that is being made, on programs of the kernel's, on counters of a processor.

/// Its magic number (include/uapi/linux/magic.h: `ANON_INODE_FS_MAGIC`).
pub const FILESYSTEM: u64 = 0x0904_1934;

/// The names of those that let nobody reach anything.
pub const HARMLESS: [&str; 6] =
    ["[eventfd]", "[eventpoll]", "[signalfd]", "[timerfd]", "[pidfd]", "inotify"];

/// Most bytes of a name that is looked at; none of the harmless ones is as long.
pub const MAX_NAME: u32 = 15;

/// A name as it lies in memory, zeros behind it.
pub type Words = [u64; 2];

const fn words(name: &str) -> Words {
    let (name, mut bytes) = (name.as_bytes(), [[0; 8]; 2]);
    let mut index = 0;
    while index < name.len() {
        bytes[index / 8][index % 8] = name[index];
        index += 1;
    }
    [u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])]
}

/// Whether a descriptor of this name is one of the harmless.
#[inline(always)]
pub const fn is_harmless(name: Words) -> bool {
    const KNOWN: [Words; HARMLESS.len()] = {
        let mut known = [[0; 2]; HARMLESS.len()];
        let mut index = 0;
        while index < known.len() {
            known[index] = words(HARMLESS[index]);
            index += 1;
        }
        known
    };
    let mut index = 0;
    while index < KNOWN.len() {
        if KNOWN[index][0] == name[0] && KNOWN[index][1] == name[1] {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_nobody_is_harmless() {
        for name in HARMLESS {
            assert!(name.len() < MAX_NAME as usize && is_harmless(words(name)), "{name}");
        }
        for name in ["", "[io_uring]", "[perf_event]", "[userfaultfd]", "[fscontext]", "bpf-prog"] {
            assert!(!is_harmless(words(name)), "{name}");
        }
        for name in ["[fanotify]", "seccomp notify", "[eventfd", "[eventfd]]", "kvm-vm"] {
            assert!(!is_harmless(words(name)), "{name}");
        }
    }
}
