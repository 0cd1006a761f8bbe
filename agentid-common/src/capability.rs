//! Which of root's capabilities a run may use. The rest it lacks, whoever it runs as, in every user namespace.
//!
//! Rules for files, peers and processes hold a run whatever its uid. A capability of the list below would take it out of
//! them, hide things from them, or change what is not the run's but the host's:
//!
//! | Capability | What it would do |
//! |---|---|
//! | `sys_module`, `sys_rawio`, `sys_boot`, `bpf`, `perfmon` | other code in the kernel, another kernel, or its memory |
//! | `sys_admin`, `checkpoint_restore` | mounts, namespaces, swap, quotas, other tasks' descriptors and memory |
//! | `mac_admin`, `mac_override` | the rules of other security modules |
//! | `sys_ptrace` | processes of other users; those of other runs stay out of reach |
//! | `dac_read_search` | files by their number, without a path; what it gives beside that `dac_override` gives too |
//! | `net_admin`, `net_raw` | the network's configuration, and packets that are made up |
//! | `mknod`, `linux_immutable` | devices, and files that nobody can remove |
//! | `sys_pacct` | what every process of the host does |
//! | `sys_time`, `wake_alarm`, `block_suspend` | the clock and the sleep of the host |
//! | `syslog`, `audit_control` | what the kernel says, addresses of its memory, and what is recorded |

/// A set of capabilities: bit N is capability N.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    pub const NONE: Self = Self(0);
    /// Those that no kernel has yet included; where a chain of runs begins.
    pub const ALL: Self = Self(u64::MAX);
    /// Those that the kernel knows, from 6.1 to 7.3.
    pub const KNOWN: Self = Self((1 << NAMES.len()) - 1);
    /// Those that a policy must grant by name.
    pub const WITHHELD: Self = Self::of(&[
        "dac_read_search",
        "linux_immutable",
        "net_admin",
        "net_raw",
        "sys_module",
        "sys_rawio",
        "sys_ptrace",
        "sys_pacct",
        "sys_admin",
        "sys_boot",
        "sys_time",
        "mknod",
        "audit_control",
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "block_suspend",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    ]);
    /// Those by which a run gets out of every hold, or others of the host with it.
    pub const UNBOUND: Self = Self::of(&[
        "sys_module",
        "sys_rawio",
        "sys_admin",
        "sys_boot",
        "mac_override",
        "mac_admin",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    ]);
    /// What a policy that says nothing leaves to a run. A capability that a later kernel brings is not among them.
    pub const USUAL: Self = Self(Self::KNOWN.0 & !Self::WITHHELD.0);

    /// Whether the capability of this number, as the kernel asks for it, is in the set.
    #[inline(always)]
    pub const fn holds(self, number: u32) -> bool {
        number < u64::BITS && self.0 & 1u64.wrapping_shl(number) != 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub const fn with(self, number: u32) -> Self {
        Self(self.0 | 1u64.wrapping_shl(number))
    }

    #[must_use]
    pub const fn with_all(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    const fn of(names: &[&str]) -> Self {
        let (mut set, mut index) = (Self::NONE, 0);
        while index < names.len() {
            match number(names[index]) {
                Some(number) => set = set.with(number),
                None => panic!("no capability has this name"),
            }
            index += 1;
        }
        set
    }
}

/// include/uapi/linux/capability.h: the names by their numbers, as capabilities(7) has them without `CAP_`.
pub const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The one that the kernel asks for before `dac_override` wherever a file is looked for or read, so that its refusal
/// alone refuses nothing.
pub const DAC_READ_SEARCH: u32 = 2;

/// The number of the capability of this name.
pub const fn number(name: &str) -> Option<u32> {
    let mut number = 0;
    while number < NAMES.len() {
        if same(NAMES[number].as_bytes(), name.as_bytes()) {
            return Some(number as u32);
        }
        number += 1;
    }
    None
}

/// The name of the capability of this number, if it has one.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(number).ok()?).copied()
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_kernels() {
        for (name, number) in [
            ("chown", 0),
            ("dac_read_search", DAC_READ_SEARCH),
            ("net_bind_service", 10),
            ("sys_admin", 21),
            ("mknod", 27),
            ("syslog", 34),
            ("checkpoint_restore", 40),
        ] {
            assert_eq!((super::number(name), super::name(number)), (Some(number), Some(name)));
        }
        assert_eq!((number("all"), name(41)), (None, None));
    }

    #[test]
    fn what_nobody_knows_is_not_usual() {
        for number in [41, 63, 64, 65, 105, u32::MAX] {
            assert!(!Capabilities::USUAL.holds(number), "{number}");
        }
        assert!(Capabilities::USUAL.holds(0) && Capabilities::USUAL.holds(1));
        assert_eq!(Capabilities::USUAL.common(Capabilities::UNBOUND), Capabilities::NONE);
        assert_eq!(Capabilities::WITHHELD.common(Capabilities::UNBOUND), Capabilities::UNBOUND);
        assert_eq!(Capabilities::WITHHELD.0.count_ones(), 21);
    }
}
