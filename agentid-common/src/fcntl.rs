//! Which commands of fcntl(2) have a signal sent to somebody.
//!
//! A file can have an owner: a process, or a group of them, that is sent a signal of anyone's choice when something can be
//! done with the file. The kernel asks nobody when it sends it, so that what is asked is who is made the owner, and of whom
//! somebody else has made one, whether anything is made of it.

/// What a command needs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody is sent a signal for it.
    Nothing = 0,
    /// The argument is the caller's own process.
    OwnProcess = 1,
    /// The owner is the caller's own process, or there is none and none comes of it.
    OwnFile = 2,
    /// It is denied.
    Never = 3,
}

/// include/uapi/asm-generic/fcntl.h and include/uapi/linux/fcntl.h
const F_SETFL: u32 = 4;
const F_SETOWN: u32 = 8;
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
const F_SETLEASE: u32 = 1024;
const F_NOTIFY: u32 = 1026;
/// Since 6.19; a lease of another kind.
const F_SETDELEG: u32 = 1040;
/// The flag by which signals are sent at all.
const O_ASYNC: u32 = 0o20000;

/// What a run needs for this command with this argument.
#[inline(always)]
pub const fn need(command: u32, argument: u64) -> Need {
    match command {
        // Also when the flag is set already: another thread may be about to take it away.
        F_SETFL if argument as u32 & O_ASYNC != 0 => Need::OwnFile,
        F_SETOWN => Need::OwnProcess,
        F_SETSIG | F_SETLEASE | F_NOTIFY | F_SETDELEG => Need::OwnFile,
        // Who is meant stands in memory that can change after it was looked at.
        F_SETOWN_EX => Need::Never,
        _ => Need::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_matter_only_when_they_have_signals_sent() {
        const O_NONBLOCK: u64 = 0o4000;
        assert_eq!(need(F_SETFL, O_NONBLOCK), Need::Nothing);
        assert_eq!(need(F_SETFL, O_NONBLOCK | u64::from(O_ASYNC)), Need::OwnFile);
    }

    #[test]
    fn whoever_could_be_sent_a_signal_is_looked_at() {
        assert_eq!(need(F_SETOWN, 1), Need::OwnProcess);
        assert_eq!(need(F_SETOWN_EX, 0), Need::Never);
        for command in [F_SETSIG, F_SETLEASE, F_NOTIFY, F_SETDELEG] {
            assert_eq!(need(command, 0), Need::OwnFile, "{command}");
        }
    }

    #[test]
    fn all_else_is_free() {
        // F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_GETLK, F_SETLK, F_SETLKW, F_GETOWN, F_GETSIG, F_GETOWN_EX, F_OFD_SETLK,
        // F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_ADD_SEALS, F_GETDELEG
        for command in [0, 1, 2, 3, 5, 6, 7, 9, 11, 16, 37, 1030, 1031, 1033, 1039] {
            assert_eq!(need(command, u64::MAX), Need::Nothing, "{command}");
        }
    }
}
