//! The only way from an answer to what a system call returns.

use agentid_common::{
    counter,
    decide::lifecycle::{self, Standing},
    instance::Ladder,
    map::CANARY_SLOT,
    tag::Tag,
    verdict::{Answer, EPERM, Hook, Reason, Refusal, Settled, Verdict, settle},
};
use aya_ebpf::helpers::generated::bpf_send_signal;

use crate::{
    count, emit,
    facts::Live,
    object::Object,
    subject::{self, Subject},
};

const SIGKILL: u32 = 9;

/// Whether allowed operations of a hook are recorded, or only counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    Counted,
    Recorded,
}

/// Holds the current task to its run: nothing for an untagged task and for the daemon, else the decision.
#[inline(always)]
pub fn hold(
    hook: Hook,
    allowed: Allowed,
    object: impl Into<Object>,
    decide: impl FnOnce(&Tag) -> Answer,
) -> i32 {
    match subject::run() {
        None => 0,
        Some(tag) => {
            let answer = decide(tag);
            conclude_apart(hook, allowed, &object.into(), tag, &answer)
        }
    }
}

/// [`conclude`] with a stack of its own: what a record needs of it is not needed while a decision walks.
#[inline(never)]
pub fn conclude_apart(
    hook: Hook,
    allowed: Allowed,
    object: &Object,
    tag: &Tag,
    answer: &Answer,
) -> i32 {
    conclude(hook, allowed, object, tag, *answer)
}

/// Counts, records and carries out one decision about a tagged task.
#[inline(always)]
pub fn conclude(hook: Hook, allowed: Allowed, object: &Object, tag: &Tag, answer: Answer) -> i32 {
    let standing = lifecycle::standing(&Live, tag);
    let settled = settle(answer, standing.mode);
    if standing.owned {
        count::activity(tag.slot, settled.verdict);
    }
    if tag.slot == CANARY_SLOT {
        // Its denials prove that we run. They are in nobody's figures and in nobody's records.
        return settled.errno;
    }
    count::verdict(hook, &settled);
    if settled.verdict != Verdict::Allow || allowed == Allowed::Recorded {
        emit::decision(hook, tag, standing.owned, &settled, object);
    }
    end(&settled, &standing);
    settled.errno
}

/// Carries out a decision about what the kernel asks before it means it: the host's figures have it, the run's and its
/// records do not.
#[inline(always)]
pub fn conclude_probe(hook: Hook, tag: &Tag, answer: Answer) -> i32 {
    let standing = lifecycle::standing(&Live, tag);
    let settled = settle(answer, standing.mode);
    if tag.slot != CANARY_SLOT {
        count::verdict(hook, &settled);
        end(&settled, &standing);
    }
    settled.errno
}

/// Kills the current task when its run is over and the policy says so.
#[inline(always)]
fn end(settled: &Settled, standing: &Standing) {
    if settled.reason.is_final() && standing.ladder == Ladder::KILL {
        // The first rung that needs no daemon. A task that cannot be signalled now meets the next hook.
        // SAFETY: signals the current task only.
        unsafe { bpf_send_signal(SIGKILL) };
    }
}

/// Keeps everyone but the daemon from one of agentid's own objects.
#[inline(always)]
pub fn guard(hook: Hook, guarded: bool) -> i32 {
    if guarded { guard_from_runs(hook, true) } else { 0 }
}

/// Keeps every run from it, and everyone but the daemon where it is one of agentid's own objects.
#[inline(always)]
pub fn guard_from_runs(hook: Hook, guarded: bool) -> i32 {
    match subject::current() {
        Subject::Keeper => 0,
        Subject::Untagged if !guarded => 0,
        Subject::Untagged => {
            count::bump(counter::guarded(hook));
            -EPERM
        }
        Subject::Agent(tag) => {
            // SAFETY: a value of task storage lives as long as its task.
            let tag = unsafe { &*tag };
            let refusal = Err(Refusal::denied(Reason::Guarded));
            conclude(hook, Allowed::Counted, &Object::None, tag, refusal)
        }
    }
}
