//! One mapping of memory, and its errno.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
    ptr::null_mut,
};

use agentid_tests::step::Mapping;

const READ: libc::c_int = libc::PROT_READ;
const EXEC: libc::c_int = libc::PROT_EXEC;
const NONE: libc::c_int = libc::PROT_NONE;
/// Enough for any file of a test: what lies beyond its end is never touched.
const LENGTH: usize = 4096;
/// include/uapi/linux/personality.h
const READ_IMPLIES_EXEC: libc::c_ulong = 0x040_0000;
/// What personality(2) takes for a question.
const ASK: libc::c_ulong = 0xffff_ffff;
/// include/uapi/linux/shm.h
const SHM_EXEC: libc::c_int = 0o100_000;

pub fn map(mapping: &Mapping) -> i32 {
    let done = match mapping {
        Mapping::Readable(path) => file(path, READ, None),
        Mapping::Executable(path) => file(path, READ | EXEC, None),
        Mapping::MadeExecutable(path) => file(path, READ, Some(READ | EXEC)),
        Mapping::MadeExecutableWithKey(path) => with_key(path),
        Mapping::Implied(path) => implied(|| file(path, READ, None)),
        Mapping::MadeImplied(path) => implied(|| file(path, NONE, Some(READ))),
        Mapping::Memory => memory().and_then(|it| descriptor(&it, READ | EXEC, None)),
        Mapping::MadeMemory => memory().and_then(|it| descriptor(&it, READ, Some(READ | EXEC))),
        Mapping::Temporary(folder) => {
            temporary(folder).and_then(|it| descriptor(&it, READ | EXEC, None))
        }
        Mapping::MadeTemporary(folder) => {
            temporary(folder).and_then(|it| descriptor(&it, READ, Some(READ | EXEC)))
        }
        Mapping::Shared => shared(),
        Mapping::Anonymous => {
            anonymous(READ | EXEC, None).and_then(|()| anonymous(READ, Some(READ | EXEC)))
        }
    };
    done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))
}

fn file(path: &Path, first: libc::c_int, then: Option<libc::c_int>) -> io::Result<()> {
    descriptor(&File::open(path)?.into(), first, then)
}

fn memory() -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a zero.
    let made = unsafe { libc::memfd_create(c"memory".as_ptr(), libc::MFD_CLOEXEC) };
    done(made)?;
    // SAFETY: it was opened just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn temporary(folder: &Path) -> io::Result<OwnedFd> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE);
    options.open(folder).map(OwnedFd::from)
}

fn descriptor(file: &OwnedFd, first: libc::c_int, then: Option<libc::c_int>) -> io::Result<()> {
    mapped(first, libc::MAP_PRIVATE, file.as_raw_fd(), then)
}

fn anonymous(first: libc::c_int, then: Option<libc::c_int>) -> io::Result<()> {
    mapped(first, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, then)
}

/// Maps with the first protections, changes them to the others, and takes the mapping away.
fn mapped(
    first: libc::c_int,
    flags: libc::c_int,
    descriptor: libc::c_int,
    then: Option<libc::c_int>,
) -> io::Result<()> {
    // SAFETY: a new mapping, which overlaps nothing.
    let place = unsafe { libc::mmap(null_mut(), LENGTH, first, flags, descriptor, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let changed = match then {
        // SAFETY: the mapping is the one that was just made.
        Some(then) => done(unsafe { libc::mprotect(place, LENGTH, then) }),
        None => Ok(()),
    };
    // SAFETY: as above.
    done(unsafe { libc::munmap(place, LENGTH) })?;
    changed
}

/// As mprotect(2) by the other call. The key -1 is the one that a mapping has without keys.
fn with_key(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let (flags, number) = (libc::MAP_PRIVATE, file.as_raw_fd());
    // SAFETY: a new mapping, which overlaps nothing.
    let place = unsafe { libc::mmap(null_mut(), LENGTH, READ, flags, number, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is the one that was just made.
    let changed = unsafe { libc::syscall(libc::SYS_pkey_mprotect, place, LENGTH, READ | EXEC, -1) };
    let changed = if changed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: as above.
    done(unsafe { libc::munmap(place, LENGTH) })?;
    changed
}

/// Does it under a personality in which what may be read may be executed.
fn implied(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: plain system calls.
    unsafe {
        let before = libc::personality(ASK);
        done(before)?;
        done(libc::personality(before as libc::c_ulong | READ_IMPLIES_EXEC))?;
        let outcome = act();
        done(libc::personality(before as libc::c_ulong))?;
        outcome
    }
}

fn shared() -> io::Result<()> {
    // SAFETY: plain system calls; the memory goes with the last mapping of it.
    unsafe {
        let number = libc::shmget(libc::IPC_PRIVATE, LENGTH, 0o600);
        done(number)?;
        let place = libc::shmat(number, null_mut(), SHM_EXEC);
        let failed = place.addr() == usize::MAX;
        let outcome = if failed { Err(io::Error::last_os_error()) } else { Ok(()) };
        if !failed {
            done(libc::shmdt(place))?;
        }
        done(libc::shmctl(number, libc::IPC_RMID, null_mut()))?;
        outcome
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
