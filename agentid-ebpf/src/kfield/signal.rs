//! Whom a file's signals go to: `struct fown_struct` and `struct pid`.
//!
//! All of it is read by address: an owner is exchanged at any time, and a `struct pid` goes with its last reference.

use agentid_common::verdict::Fault;
use aya_ebpf::bindings::task_struct;

use super::{
    FILE_OWNER, OWNER_APART, OWNER_KIND, OWNER_PID, PID_LEVEL, PID_NUMBERS, TASK_LEADER,
    TASK_NUMBERS, read_into,
};

/// include/linux/pid_types.h: what a number stands for. Above it are groups of processes.
const PIDTYPE_TGID: u32 = 1;
/// A number that no process has (`PID_MAX_LIMIT`).
const GROUP: u32 = u32::MAX;

/// Size of `struct upid`, which begins with the number: one for each namespace, from the initial one inwards.
const NUMBER: u64 = 16;

/// The process that a file's signals go to, by its number in the initial namespace; 0 when there is none, and what no
/// process has when they go to several.
#[inline(always)]
pub fn owner(file: u64) -> Result<u32, Fault> {
    let mut owner = file.wrapping_add(u64::from(FILE_OWNER.load()));
    if OWNER_APART.load() != 0 {
        owner = value(owner)?;
        if owner == 0 {
            return Ok(0);
        }
    }
    let process: u64 = value(owner.wrapping_add(u64::from(OWNER_PID.load())))?;
    if process == 0 {
        return Ok(0);
    }
    let kind: u32 = value(owner.wrapping_add(u64::from(OWNER_KIND.load())))?;
    if kind > PIDTYPE_TGID {
        return Ok(GROUP);
    }
    value(process.wrapping_add(u64::from(PID_NUMBERS.load())))
}

/// Number of a task's process as the process itself knows it.
#[inline(always)]
pub fn own_number(task: *const task_struct) -> Result<u32, Fault> {
    let leader: u64 = value((task as u64).wrapping_add(u64::from(TASK_LEADER.load())))?;
    let process: u64 = value(leader.wrapping_add(u64::from(TASK_NUMBERS.load())))?;
    let level: u32 = value(process.wrapping_add(u64::from(PID_LEVEL.load())))?;
    let numbers = process.wrapping_add(u64::from(PID_NUMBERS.load()));
    value(numbers.wrapping_add(u64::from(level).wrapping_mul(NUMBER)))
}

#[inline(always)]
fn value<T: Copy + Default>(address: u64) -> Result<T, Fault> {
    let mut value = T::default();
    if read_into(&mut value, address) { Ok(value) } else { Err(Fault::WalkRead) }
}
