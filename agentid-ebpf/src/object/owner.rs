//! Who is sent a signal when something can be done with a file?

use agentid_common::verdict::Fault;

use crate::{
    kfield::{self, File},
    subject,
};

/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFCHR: u16 = 0o020_000;

/// Whether only the current task's process is made the owner of the file, or nobody.
#[inline(always)]
pub fn is_own_process(file: File, number: u32) -> Result<bool, Fault> {
    if number == 0 {
        // A terminal without one gives its signals to whoever is in front of it.
        return Ok(!is_character_device(file));
    }
    Ok(number == kfield::own_number(subject::current_task())?)
}

/// Whether the signals of a file, which is at this address, go to the current task's process alone, or to nobody.
#[inline(always)]
pub fn is_own_file(file: File, address: u64) -> Result<bool, Fault> {
    match kfield::owner(address)? {
        // As above: with the first that asks for signals (drivers/tty/tty_io.c, `__tty_fasync`).
        0 => Ok(!is_character_device(file)),
        owner => Ok(owner == kfield::tgid(subject::current_task())),
    }
}

#[inline(always)]
fn is_character_device(file: File) -> bool {
    file.inode().mode() & S_IFMT == S_IFCHR
}
