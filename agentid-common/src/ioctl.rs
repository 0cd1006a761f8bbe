//! Which ioctls a run may use, by what the file is. What is not in the list is denied.
//!
//! A number means what its driver makes of it, so that a command is only as harmless as the kinds of files that it is
//! listed for. The descriptor was judged when it was opened; here the question is what it can do beyond reading and
//! writing. Commands are those of the 64-bit and of the 32-bit interface.

/// What a file is, one bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(pub u32);

impl Kinds {
    pub const NONE: Self = Self(0);
    /// A regular file or a folder.
    pub const FILE: Self = Self(1);
    pub const TERMINAL: Self = Self(1 << 1);
    /// Any other device.
    pub const DEVICE: Self = Self(1 << 2);
    pub const SOCKET: Self = Self(1 << 3);
    pub const PIPE: Self = Self(1 << 4);
    /// A file that lies nowhere: a memfd, an event counter, an epoll, and so on.
    pub const NAMELESS: Self = Self(1 << 5);
    pub const ALL: Self = Self((1 << 6) - 1);

    #[inline(always)]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a command needs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A run that goes on.
    Nothing = 0,
    /// The right to write the file, where it is now.
    Write = 1,
    /// It is denied.
    Never = 2,
}

/// What a run needs to use this command on a file of this kind.
#[inline(always)]
pub const fn need(kind: Kinds, command: u32) -> Need {
    if harmless(command).contains(kind) {
        Need::Nothing
    } else if changes_attributes(command) && Kinds::FILE.union(Kinds::NAMELESS).contains(kind) {
        Need::Write
    } else {
        Need::Never
    }
}

/// Whether it has signals sent, as the flag `O_ASYNC` does ([`crate::fcntl`]).
#[inline(always)]
pub const fn has_signals_sent(command: u32) -> bool {
    command == FIOASYNC
}

/// Whether it changes what `chmod` would change if it knew the flags: immutable, append-only, project and so on.
const fn changes_attributes(command: u32) -> bool {
    matches!(command, FS_IOC_SETFLAGS | FS_IOC32_SETFLAGS | FS_IOC_FSSETXATTR)
}

/// The kinds of files on which the command does nothing that reading, writing and `stat` do not do.
const fn harmless(command: u32) -> Kinds {
    match command {
        // The descriptor itself; and is it a terminal, and whose, which programs ask of whatever they are given.
        FIOCLEX | FIONCLEX | FIONBIO | FIOASYNC | FIOQSIZE | FIGETBSZ | TCGETS | TCGETS2
        | TIOCGWINSZ | TIOCGPGRP | TIOCGSID | TIOCGETD => Kinds::ALL,
        // How much can be read. A driver may take the number for something else.
        FIONREAD => Kinds::FILE
            .union(Kinds::TERMINAL)
            .union(Kinds::SOCKET)
            .union(Kinds::PIPE)
            .union(Kinds::NAMELESS),
        // A terminal's, and a socket's, for what is still to be sent.
        TIOCOUTQ => Kinds::TERMINAL.union(Kinds::SOCKET),
        FS_IOC_GETFLAGS
        | FS_IOC32_GETFLAGS
        | FS_IOC_GETVERSION
        | FS_IOC32_GETVERSION
        | FS_IOC_FSGETXATTR
        | FS_IOC_FIEMAP
        | FS_IOC_GETFSLABEL
        | FS_IOC_GETFSUUID
        | FS_IOC_GETFSSYSFSPATH => Kinds::FILE.union(Kinds::NAMELESS),
        // The kernel asks for a source that is open for reading and a target that is open for writing, and compares
        // before it merges (fs/remap_range.c).
        FICLONE | FICLONERANGE | FIDEDUPERANGE => Kinds::FILE.union(Kinds::NAMELESS),
        TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 | TCGETA | TCSETA | TCSETAW
        | TCSETAF | TCSBRK | TCSBRKP | TCXONC | TCFLSH | TIOCSCTTY | TIOCNOTTY | TIOCSPGRP
        | TIOCSWINSZ | TIOCPKT | TIOCGPTN | TIOCSPTLCK | TIOCGPTPEER | TIOCGDEV | TIOCGPKT
        | TIOCGPTLCK | TIOCGEXCL => Kinds::TERMINAL,
        SIOCATMARK | SIOCGPGRP | FIOGETOWN | SIOCOUTQNSD | SIOCGSTAMP | SIOCGSTAMPNS
        | SIOCGSTAMP_NEW | SIOCGSTAMPNS_NEW | SIOCGIFNAME | SIOCGIFCONF | SIOCGIFFLAGS
        | SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK | SIOCGIFMETRIC
        | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFINDEX | SIOCGIFTXQLEN | SIOCGIFMAP => Kinds::SOCKET,
        _ => Kinds::NONE,
    }
}

/// Whether a character device with this major number is a terminal: Documentation/admin-guide/devices.txt.
#[inline(always)]
pub const fn is_terminal(major: u32) -> bool {
    // Consoles and serial lines; /dev/tty, /dev/console and /dev/ptmx; both ends of pseudo-terminals; serial lines of
    // other makers; a hypervisor's console.
    matches!(major, 4 | 5 | 128..=143 | 204 | 229)
}

macro_rules! commands {
    ($($name:ident = $value:literal;)*) => {
        $(const $name: u32 = $value;)*

        /// Every command of the list, with its name.
        #[cfg(test)]
        const NAMES: &[(&str, u32)] = &[$((stringify!($name), $value),)*];
    };
}

// include/uapi/asm-generic/ioctls.h and include/uapi/linux/fs.h
commands! {
    FIGETBSZ = 0x0002;
    FIONREAD = 0x541b;
    FIONBIO = 0x5421;
    FIONCLEX = 0x5450;
    FIOCLEX = 0x5451;
    FIOASYNC = 0x5452;
    FIOQSIZE = 0x5460;
    FICLONE = 0x4004_9409;
    FICLONERANGE = 0x4020_940d;
    FIDEDUPERANGE = 0xc018_9436;
    FS_IOC_GETFLAGS = 0x8008_6601;
    FS_IOC32_GETFLAGS = 0x8004_6601;
    FS_IOC_SETFLAGS = 0x4008_6602;
    FS_IOC32_SETFLAGS = 0x4004_6602;
    FS_IOC_GETVERSION = 0x8008_7601;
    FS_IOC32_GETVERSION = 0x8004_7601;
    FS_IOC_FSGETXATTR = 0x801c_581f;
    FS_IOC_FSSETXATTR = 0x401c_5820;
    FS_IOC_FIEMAP = 0xc020_660b;
    FS_IOC_GETFSLABEL = 0x8100_9431;
    FS_IOC_GETFSUUID = 0x8011_1500;
    FS_IOC_GETFSSYSFSPATH = 0x8081_1501;
    TCGETS = 0x5401;
    TCSETS = 0x5402;
    TCSETSW = 0x5403;
    TCSETSF = 0x5404;
    TCGETA = 0x5405;
    TCSETA = 0x5406;
    TCSETAW = 0x5407;
    TCSETAF = 0x5408;
    TCSBRK = 0x5409;
    TCXONC = 0x540a;
    TCFLSH = 0x540b;
    TIOCSCTTY = 0x540e;
    TIOCGPGRP = 0x540f;
    TIOCSPGRP = 0x5410;
    TIOCOUTQ = 0x5411;
    TIOCGWINSZ = 0x5413;
    TIOCSWINSZ = 0x5414;
    TIOCPKT = 0x5420;
    TIOCNOTTY = 0x5422;
    TIOCGETD = 0x5424;
    TCSBRKP = 0x5425;
    TIOCGSID = 0x5429;
    TIOCGPTPEER = 0x5441;
    TCGETS2 = 0x802c_542a;
    TCSETS2 = 0x402c_542b;
    TCSETSW2 = 0x402c_542c;
    TCSETSF2 = 0x402c_542d;
    TIOCGPTN = 0x8004_5430;
    TIOCSPTLCK = 0x4004_5431;
    TIOCGDEV = 0x8004_5432;
    TIOCGPKT = 0x8004_5438;
    TIOCGPTLCK = 0x8004_5439;
    TIOCGEXCL = 0x8004_5440;
    FIOGETOWN = 0x8903;
    SIOCGPGRP = 0x8904;
    SIOCATMARK = 0x8905;
    SIOCGSTAMP = 0x8906;
    SIOCGSTAMPNS = 0x8907;
    SIOCGSTAMP_NEW = 0x8010_8906;
    SIOCGSTAMPNS_NEW = 0x8010_8907;
    SIOCGIFNAME = 0x8910;
    SIOCGIFCONF = 0x8912;
    SIOCGIFFLAGS = 0x8913;
    SIOCGIFADDR = 0x8915;
    SIOCGIFDSTADDR = 0x8917;
    SIOCGIFBRDADDR = 0x8919;
    SIOCGIFNETMASK = 0x891b;
    SIOCGIFMETRIC = 0x891d;
    SIOCGIFMTU = 0x8921;
    SIOCGIFHWADDR = 0x8927;
    SIOCGIFINDEX = 0x8933;
    SIOCGIFTXQLEN = 0x8942;
    SIOCOUTQNSD = 0x894b;
    SIOCGIFMAP = 0x8970;
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: [Kinds; 6] =
        [Kinds::FILE, Kinds::TERMINAL, Kinds::DEVICE, Kinds::SOCKET, Kinds::PIPE, Kinds::NAMELESS];

    /// What is dangerous somewhere, by its name: none of it is harmless anywhere.
    const DENIED: &[(&str, u32)] = &[
        ("TIOCSTI", 0x5412),
        ("TIOCLINUX", 0x541c),
        ("TIOCCONS", 0x541d),
        ("TIOCSETD", 0x5423),
        ("TIOCSSERIAL", 0x541f),
        ("TIOCEXCL", 0x540c),
        ("TIOCMSET", 0x5418),
        ("TIOCSLCKTRMIOS", 0x5457),
        ("TIOCVHANGUP", 0x5437),
        ("TIOCSIG", 0x4004_5436),
        ("KDSKBENT", 0x4b47),
        ("KDFONTOP", 0x4b72),
        ("VT_ACTIVATE", 0x5606),
        ("VT_SETMODE", 0x5602),
        ("FIBMAP", 0x0001),
        ("FIFREEZE", 0xc004_5877),
        ("FITRIM", 0xc018_5879),
        ("FS_IOC_SETFSLABEL", 0x4100_9432),
        ("BTRFS_IOC_SNAP_CREATE", 0x5000_9401),
        ("BTRFS_IOC_SUBVOL_CREATE", 0x5000_940e),
        ("BTRFS_IOC_SNAP_DESTROY", 0x5000_940f),
        ("BTRFS_IOC_SNAP_CREATE_V2", 0x5000_9417),
        ("BTRFS_IOC_SUBVOL_CREATE_V2", 0x5000_9418),
        ("BTRFS_IOC_TREE_SEARCH", 0xd000_9411),
        ("BTRFS_IOC_TREE_SEARCH_V2", 0xc070_9411),
        ("BTRFS_IOC_INO_LOOKUP", 0xd000_9412),
        ("BTRFS_IOC_SEND", 0x4048_9426),
        ("XFS_IOC_OPEN_BY_HANDLE", 0xc038_586b),
        ("XFS_IOC_SWAPEXT", 0xc0c0_586d),
        ("EXT4_IOC_MOVE_EXT", 0xc028_660f),
        ("EXT4_IOC_SWAP_BOOT", 0x6611),
        ("FIOSETOWN", 0x8901),
        ("SIOCSPGRP", 0x8902),
        ("SIOCADDRT", 0x890b),
        ("SIOCSIFFLAGS", 0x8914),
        ("SIOCSIFADDR", 0x8916),
        ("SIOCETHTOOL", 0x8946),
        ("SIOCBRADDBR", 0x89a0),
        ("SIOCUNIXFILE", 0x89e0),
        ("IOC_WATCH_QUEUE_SET_FILTER", 0x5761),
        ("UFFDIO_API", 0xc018_aa3f),
        ("PERF_EVENT_IOC_SET_BPF", 0x4004_2408),
        ("KVM_CREATE_VM", 0xae01),
        ("TUNSETIFF", 0x4004_54ca),
        ("NS_GET_USERNS", 0xb701),
        ("SECCOMP_IOCTL_NOTIF_ADDFD", 0x4018_2103),
        ("LOOP_SET_FD", 0x4c00),
        ("BLKFLSBUF", 0x1261),
        ("SG_IO", 0x2285),
        ("RNDADDENTROPY", 0x4008_5203),
        ("UI_DEV_CREATE", 0x5501),
    ];

    #[test]
    fn what_reaches_beyond_the_file_is_denied_on_every_kind() {
        for &(name, command) in DENIED {
            for kind in EACH {
                assert_eq!(need(kind, command), Need::Never, "{name} on {kind:?}");
            }
        }
    }

    #[test]
    fn each_command_of_the_list_is_of_use_and_listed_once() {
        for (index, &(name, command)) in NAMES.iter().enumerate() {
            assert!(EACH.iter().any(|&kind| need(kind, command) != Need::Never), "{name}");
            let twin = NAMES[..index].iter().find(|(_, other)| *other == command);
            assert_eq!(twin, None, "{name} stands for the same number");
        }
    }

    #[test]
    fn every_program_may_ask_whether_it_has_a_terminal() {
        for kind in EACH {
            for command in [TCGETS, TCGETS2, TIOCGWINSZ, TIOCGPGRP, TIOCGETD, FIOCLEX, FIONBIO] {
                assert_eq!(need(kind, command), Need::Nothing, "{command:#x} on {kind:?}");
            }
        }
    }

    #[test]
    fn a_command_is_harmless_only_where_it_means_what_it_says() {
        assert_eq!(need(Kinds::TERMINAL, TCSETS), Need::Nothing);
        assert_eq!(need(Kinds::DEVICE, TCSETS), Need::Never);
        assert_eq!(need(Kinds::DEVICE, FIONREAD), Need::Never);
        assert_eq!(need(Kinds::DEVICE, FS_IOC_GETFLAGS), Need::Never);
        assert_eq!(need(Kinds::SOCKET, SIOCGIFCONF), Need::Nothing);
        assert_eq!(need(Kinds::FILE, SIOCGIFCONF), Need::Never);
    }

    #[test]
    fn flags_of_a_file_need_the_right_to_write_it() {
        for command in [FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR] {
            assert_eq!(need(Kinds::FILE, command), Need::Write);
            assert_eq!(need(Kinds::NAMELESS, command), Need::Write);
            assert_eq!(need(Kinds::DEVICE, command), Need::Never);
        }
    }

    #[test]
    fn knows_terminals_by_their_numbers() {
        for major in [4, 5, 128, 136, 143, 229] {
            assert!(is_terminal(major));
        }
        // Memory, loops, disks, sound, input, and what gets its number when it comes.
        for major in [1, 7, 8, 10, 13, 14, 116, 144, 226, 240, 254] {
            assert!(!is_terminal(major));
        }
    }
}
