//! What a record tells of an execution beside the file: the script, and the arguments as far as the settings let.
//!
//! What the settings leave out is not read here, so that it is in nobody's memory but the program's own.

use core::ptr::read_volatile;

use agentid_common::{
    facts::{Facts, Flow, Turn},
    record::{
        ExecBody, LEFT_BY_SETTING, LEFT_FOR_ROOM, LEFT_NOTHING, LEFT_UNREAD, MAX_ARGUMENTS,
        MAX_SCRIPT,
    },
};
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user_str,
};

use crate::{
    facts::Live,
    kfield::Binprm,
    maps::{HOST, WORK, Work},
    subject,
};

const ROOM: u32 = MAX_ARGUMENTS as u32;

/// The name of the script that the file interprets, if it does.
#[inline(always)]
pub fn script(program: Binprm, body: &mut ExecBody) {
    body.script_length = 0;
    let name = program.filename();
    if program.interpreter() == name {
        return;
    }
    let room = MAX_SCRIPT as u32;
    // SAFETY: the helper writes at most that many bytes, and fails instead of faulting.
    let length = unsafe {
        bpf_probe_read_kernel_str(body.script.as_mut_ptr().cast(), room, name as *const _)
    };
    body.script_length = if length > 0 { length as u32 } else { room };
}

/// The memory that has them is not the task's yet.
#[inline(always)]
pub fn no_arguments(program: Binprm, body: &mut ExecBody) {
    body.count = program.argument_count();
    body.length = 0;
    body.left_out = LEFT_UNREAD;
}

/// One after another, from the first.
#[inline(always)]
pub fn arguments(program: Binprm, body: &mut ExecBody) {
    no_arguments(program, body);
    let Some(work) = WORK.get_or_create(subject::current_task()) else { return };
    // SAFETY: `work` is this task's own, and its walk is over.
    let work = unsafe { &mut *work };
    // `level` is how many bytes there are, `top` how many arguments.
    (work.level, work.top, work.failed) = (0, 0, 0);
    let most = match HOST.get_ptr(0) {
        // SAFETY: an array's value never moves or goes away.
        Some(host) => unsafe { read_volatile(&raw const (*host).arguments) },
        None => return,
    };
    let wanted = if body.count < most { body.count } else { most };
    let turns = if wanted < ROOM { wanted } else { ROOM };
    if Live.repeat(turns, &mut Reading { at: program.arguments(), work }).is_err() {
        return;
    }
    let length = if work.level < ROOM { work.level } else { ROOM };
    // SAFETY: the helper reads within `path`, and writes within the record.
    let copied = unsafe {
        bpf_probe_read_kernel(body.arguments.as_mut_ptr().cast(), length, work.path.as_ptr().cast())
    };
    if copied != 0 {
        return;
    }
    body.length = length;
    body.left_out = if work.failed != 0 {
        LEFT_UNREAD
    } else if work.level > ROOM || work.top < wanted {
        LEFT_FOR_ROOM
    } else if work.top < body.count {
        LEFT_BY_SETTING
    } else {
        LEFT_NOTHING
    };
}

/// From the first argument on, until there is no room for more.
struct Reading {
    at: u64,
    work: *mut Work,
}

impl Turn for Reading {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> Flow {
        // SAFETY: `work` is this task's own.
        let work = unsafe { &mut *self.work };
        let begin = work.level & (ROOM - 1);
        // SAFETY: `path` has room for as much again behind; the helper fails instead of faulting.
        let read = unsafe {
            let to = work.path.as_mut_ptr().add(begin as usize);
            bpf_probe_read_user_str(to.cast(), ROOM, self.at as *const _)
        };
        if read < 0 || read > i64::from(ROOM) {
            work.failed = 1;
            return Flow::Stop;
        }
        // Of an empty string the kernel forgets the closing zero (mm/maccess.c: `strncpy_from_user_nofault`).
        let read = if read == 0 { 1 } else { read };
        // As long as the room is may be longer, and is cut.
        let whole = read < i64::from(ROOM);
        work.level = if whole { begin + read as u32 } else { ROOM + 1 };
        work.top = index + 1;
        self.at += read as u64;
        if work.level < ROOM { Flow::GoOn } else { Flow::Stop }
    }
}
