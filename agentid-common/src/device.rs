//! Which device nodes a run may use wherever they lie.
//!
//! A node gives what its number stands for, and can lie in any folder. In the kernel's own folder of devices (devtmpfs) the
//! path tells what it is, and rules speak of paths; anywhere else only what does no harm is what rules have meant.

/// The type of the filesystem in which the kernel itself makes each node under its name.
pub const OWN_FILESYSTEM: &[u8; 8] = b"devtmpfs";

/// include/linux/kdev_t.h: the bits of a device's number below the major number.
pub const MINORBITS: u32 = 20;

/// Whether a character device with this number, in the kernel's own encoding, gives nothing that is not everybody's:
/// null, zero, full, random and urandom; the terminal that the process has; and terminals that programs make.
/// Documentation/admin-guide/devices.txt.
#[inline(always)]
pub const fn is_harmless(number: u32) -> bool {
    let (major, minor) = (number >> MINORBITS, number & ((1 << MINORBITS) - 1));
    match major {
        1 => matches!(minor, 3 | 5 | 7 | 8 | 9),
        5 => matches!(minor, 0 | 2),
        _ => matches!(major, 136..=143),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(major: u32, minor: u32) -> u32 {
        major << MINORBITS | minor
    }

    #[test]
    fn what_everybody_has_is_harmless() {
        for (major, minor) in
            [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 0), (143, 1_000)]
        {
            assert!(is_harmless(number(major, minor)), "{major}:{minor}");
        }
    }

    #[test]
    fn memory_disks_consoles_and_what_has_its_number_when_it_comes_are_not() {
        for (major, minor) in [
            (0, 0),
            (1, 1),
            (1, 4),
            (1, 11),
            (4, 0),
            (5, 1),
            (5, 3),
            (7, 0),
            (8, 0),
            (10, 200),
            (10, 232),
            (135, 0),
            (144, 0),
            (259, 0),
        ] {
            assert!(!is_harmless(number(major, minor)), "{major}:{minor}");
        }
    }
}
