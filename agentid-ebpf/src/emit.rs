//! Records for the daemon.

use agentid_common::{
    counter,
    file::{MAX_NAME, Rights},
    record::{
        ABSTRACT, ExecRecord, FileBody, FileRecord, Header, KIND_EMPTY, KIND_EXEC, KIND_FILE,
        KIND_PEER, KIND_PLAIN, MAX_PATH, PeerBody, PeerRecord, PlainRecord,
    },
    tag::Tag,
    verdict::{Hook, Reason},
};
use aya_ebpf::helpers::generated::{
    bpf_d_path, bpf_get_current_comm, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};

use crate::{
    count, execution,
    kfield::{self, Binprm, Dentry, SuperBlock},
    maps::EVENTS,
    object::{Asked, Calling, Named, Object, spelling::spell},
    subject,
};

/// The daemon looks at the ring by time, so that a record costs no wake-up in somebody's system call; it is woken
/// for the end of a run.
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

/// What a record says of a decision.
#[derive(Clone, Copy, Default)]
pub struct Outcome {
    pub verdict: u32,
    pub reason: u32,
    pub fault: u32,
    pub rule: u16,
    pub above: u16,
}

impl Outcome {
    /// The daemon ends a run that has met a tripwire, and does so now.
    #[inline(always)]
    fn wakeup(&self) -> u64 {
        if self.reason == Reason::Tripwire as u32 { FORCE_WAKEUP } else { NO_WAKEUP }
    }
}

/// Records a decision.
#[inline(always)]
pub fn decision(hook: Hook, tag: &Tag, owned: bool, outcome: &Outcome, object: &Object) {
    let sequence = sequence(tag, owned);
    match object {
        Object::None => plain(KIND_PLAIN, hook, tag, owned, sequence, outcome, outcome.wakeup()),
        Object::File(asked) => file(hook, tag, owned, sequence, outcome, asked),
        Object::Spelled(Asked { file, want }) => {
            let place = (file.dentry(), file.superblock());
            name(hook, tag, owned, sequence, outcome, *want, place);
        }
        Object::Name(Named { dentry, want }) => {
            let place = (*dentry, dentry.superblock());
            name(hook, tag, owned, sequence, outcome, *want, place);
        }
        Object::Abstract(calling) => abstract_name(hook, tag, owned, sequence, outcome, calling),
        Object::Peer(body) => peer(hook, tag, owned, sequence, outcome, body),
    }
}

/// Records that the last task of a run is gone.
#[inline(always)]
pub fn empty(tag: &Tag, outcome: &Outcome) {
    let sequence = sequence(tag, true);
    plain(KIND_EMPTY, Hook::Exit, tag, true, sequence, outcome, FORCE_WAKEUP);
}

#[inline(always)]
fn plain(
    kind: u32,
    hook: Hook,
    tag: &Tag,
    owned: bool,
    sequence: u64,
    outcome: &Outcome,
    wake: u64,
) {
    match EVENTS.reserve_untyped::<PlainRecord>(0) {
        Some(mut entry) => {
            header(unsafe_header(entry.as_mut_ptr().cast()), kind, hook, tag, sequence, outcome);
            entry.submit(wake);
        }
        None => lost(tag, owned),
    }
}

#[inline(always)]
fn file(hook: Hook, tag: &Tag, owned: bool, sequence: u64, outcome: &Outcome, asked: &Asked) {
    match EVENTS.reserve_untyped::<FileRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            header(unsafe_header(record.cast()), KIND_FILE, hook, tag, sequence, outcome);
            // SAFETY: `record` is the reserved room.
            path(asked, unsafe { &mut (*record).body });
            entry.submit(outcome.wakeup());
        }
        None => lost(tag, owned),
    }
}

/// The path of a file as the task sees it.
#[inline(always)]
fn path(asked: &Asked, body: &mut FileBody) {
    body.want = asked.want.0;
    body.filesystem = 0;
    let path = (&raw mut body.path).cast();
    // SAFETY: the helper writes at most `MAX_PATH` bytes.
    let length = unsafe { bpf_d_path(asked.file.path().cast_mut().cast(), path, MAX_PATH as u32) };
    // The helper counts the closing zero.
    body.length = if length > 0 { length as u32 - 1 } else { 0 };
}

/// Records what was decided about an execution, or that it took place.
#[inline(always)]
pub fn execution(hook: Hook, tag: &Tag, owned: bool, outcome: &Outcome, program: Binprm) {
    let sequence = sequence(tag, owned);
    match EVENTS.reserve_untyped::<ExecRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            header(unsafe_header(record.cast()), KIND_EXEC, hook, tag, sequence, outcome);
            // SAFETY: `record` is the reserved room.
            let (file, exec) = unsafe { (&mut (*record).body, &mut (*record).exec) };
            path(&Asked { file: program.file(), want: Rights::EXEC }, file);
            execution::script(program, exec);
            if hook as u32 == Hook::BprmCommittedCreds as u32 {
                execution::arguments(program, exec);
            } else {
                execution::no_arguments(program, exec);
            }
            entry.submit(outcome.wakeup());
        }
        None => lost(tag, owned),
    }
}

#[inline(always)]
fn name(
    hook: Hook,
    tag: &Tag,
    owned: bool,
    sequence: u64,
    outcome: &Outcome,
    want: Rights,
    (dentry, superblock): (Dentry, SuperBlock),
) {
    match EVENTS.reserve_untyped::<FileRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            header(unsafe_header(record.cast()), KIND_FILE, hook, tag, sequence, outcome);
            // SAFETY: `record` is the reserved room.
            let body = unsafe { &mut (*record).body };
            body.want = want.0;
            spell(dentry, superblock, body);
            entry.submit(outcome.wakeup());
        }
        None => lost(tag, owned),
    }
}

/// An abstract name of a unix socket, as people write it: behind an `@`.
#[inline(always)]
fn abstract_name(
    hook: Hook,
    tag: &Tag,
    owned: bool,
    sequence: u64,
    outcome: &Outcome,
    calling: &Calling,
) {
    match EVENTS.reserve_untyped::<FileRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            header(unsafe_header(record.cast()), KIND_FILE, hook, tag, sequence, outcome);
            // SAFETY: `record` is the reserved room.
            let body = unsafe { &mut (*record).body };
            body.want = calling.want.0;
            body.filesystem = 0;
            body.path[0] = ABSTRACT;
            let length = calling.name.length & MAX_NAME as u32;
            let copied = kfield::read(body.path[1..].as_mut_ptr(), length, calling.name.address);
            body.length = if copied { length + 1 } else { 0 };
            entry.submit(outcome.wakeup());
        }
        None => lost(tag, owned),
    }
}

#[inline(always)]
fn peer(hook: Hook, tag: &Tag, owned: bool, sequence: u64, outcome: &Outcome, body: &PeerBody) {
    match EVENTS.reserve_untyped::<PeerRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            header(unsafe_header(record.cast()), KIND_PEER, hook, tag, sequence, outcome);
            // SAFETY: `record` is the reserved room.
            unsafe { (*record).body = *body };
            entry.submit(outcome.wakeup());
        }
        None => lost(tag, owned),
    }
}

/// The header at the start of a reserved record.
#[inline(always)]
fn unsafe_header<'a>(record: *mut Header) -> &'a mut Header {
    // SAFETY: every record begins with a header and is aligned to eight bytes (kernel/bpf/ringbuf.c).
    unsafe { &mut *record }
}

#[inline(always)]
fn header(header: &mut Header, kind: u32, hook: Hook, tag: &Tag, sequence: u64, outcome: &Outcome) {
    let task = subject::current_task();
    // SAFETY: both helpers take nothing and cannot fail.
    let (time, ids) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_uid_gid()) };
    header.time = time;
    header.sequence = sequence;
    header.generation = tag.generation;
    header.invocation = tag.invocation;
    header.slot = tag.slot;
    header.kind = kind;
    header.hook = hook as u32;
    header.verdict = outcome.verdict;
    header.reason = outcome.reason;
    header.fault = outcome.fault;
    header.rule = outcome.rule;
    header.above = outcome.above;
    header.tgid = kfield::tgid(task);
    header.tid = kfield::tid(task);
    header.uid = ids as u32;
    // SAFETY: the helper writes 16 bytes, with a closing zero, and zeros all of them when it fails.
    unsafe { bpf_get_current_comm(header.comm.as_mut_ptr().cast(), 16) };
}

/// Takes the record's number before the ring is asked: what is lost is a gap.
#[inline(always)]
fn sequence(tag: &Tag, owned: bool) -> u64 {
    if owned && let Some(activity) = count::of(tag.slot) {
        // SAFETY: an array's value never moves or goes away.
        return count::add(unsafe { &raw mut (*activity).sequence }, 1);
    }
    0
}

#[inline(always)]
fn lost(tag: &Tag, owned: bool) {
    count::bump(counter::lost());
    if owned && let Some(activity) = count::of(tag.slot) {
        // SAFETY: an array's value never moves or goes away.
        count::add(unsafe { &raw mut (*activity).lost }, 1);
    }
}
