//! The only way from an answer to what a system call returns.

use agentid_common::{
    counter,
    decide::lifecycle::{self, Standing},
    instance::Ladder,
    map::CANARY_SLOT,
    tag::Tag,
    verdict::{Answer, EPERM, Hook, Packed, Reason, Refusal, Settled, Verdict, settle},
};
use aya_ebpf::helpers::generated::bpf_send_signal;

use crate::{
    count,
    emit::{self, Outcome},
    facts::Live,
    kfield::Binprm,
    object::Object,
    subject::{self, Subject},
};

const SIGKILL: u32 = 9;

/// What is told of operations that a hook allows.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    Counted,
    Recorded,
    /// They are counted for the host alone, and so are those that are denied.
    Probed,
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
            conclude(hook, allowed, &object.into(), tag, answer)
        }
    }
}

/// Counts, records and carries out one decision about a tagged task.
#[inline(always)]
pub fn conclude(hook: Hook, allowed: Allowed, object: &Object, tag: &Tag, answer: Answer) -> i32 {
    let told = tell(hook, allowed, tag, answer);
    if told.is_recorded() {
        record(hook, object, tag, told);
    }
    told.errno()
}

/// Not inlined: what a record needs of the stack is not needed while a decision walks.
#[inline(never)]
fn record(hook: Hook, object: &Object, tag: &Tag, told: Told) {
    emit::decision(hook, tag, told.is_owned(), &told.outcome(), object);
}

/// Counts, records and carries out one decision about a program that is to be executed.
#[inline(always)]
pub fn conclude_execution(program: Binprm, tag: &Tag, answer: Answer) -> i32 {
    let told = tell(Hook::BprmCheckSecurity, Allowed::Recorded, tag, answer);
    if told.is_recorded() {
        record_execution(program, tag, told);
    }
    told.errno()
}

/// Not inlined, as [`record`].
#[inline(never)]
fn record_execution(program: Binprm, tag: &Tag, told: Told) {
    let outcome = told.outcome();
    emit::execution(Hook::BprmCheckSecurity, tag, told.is_owned(), &outcome, program);
}

/// Records that a program was started. Whether it may be was asked before, so that it is in nobody's figures.
#[inline(always)]
pub fn executed(program: Binprm, tag: &Tag) {
    if tag.slot != CANARY_SLOT {
        let owned = lifecycle::standing(&Live, tag).owned;
        let outcome = Outcome { verdict: Verdict::Allow as u32, ..Outcome::default() };
        emit::execution(Hook::BprmCommittedCreds, tag, owned, &outcome, program);
    }
}

/// Carries out a decision about what the kernel asks before it means it: the host's figures have it, the run's and its
/// records do not.
#[inline(always)]
pub fn conclude_probe(hook: Hook, tag: &Tag, answer: Answer) -> i32 {
    tell(hook, Allowed::Probed, tag, answer).errno()
}

#[inline(always)]
fn tell(hook: Hook, allowed: Allowed, tag: &Tag, answer: Answer) -> Told {
    let answer = Packed::of(answer).0;
    Told(agentid_settle(answer, tag.slot, tag.generation, hook as u32, allowed as u32))
}

/// All but the record, which shows what only the hook knows. A function of its own for the verifier; see `apart`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn agentid_settle(
    answer: u64,
    slot: u32,
    generation: u64,
    hook: u32,
    allowed: u32,
) -> u64 {
    let standing = lifecycle::standing(&Live, &Tag::of_run(slot, generation));
    let settled = settle(Packed(answer).answer(), standing.mode);
    let probed = allowed == Allowed::Probed as u32;
    if standing.owned && !probed {
        count::activity(slot, settled.verdict);
        if settled.trips() {
            count::trip(slot);
        }
    }
    let told = Told::errno_of(&settled);
    if slot == CANARY_SLOT {
        // Its denials prove that we run. They are in nobody's figures and in nobody's records.
        return told.0;
    }
    if let Some(hook) = Hook::from_u32(hook) {
        count::verdict(hook, &settled);
    }
    end(&settled, &standing);
    if probed || settled.verdict == Verdict::Allow && allowed != Allowed::Recorded as u32 {
        return told.0;
    }
    told.recorded(&settled, standing.owned).0
}

/// A settled decision in one number.
#[derive(Clone, Copy)]
struct Told(u64);

impl Told {
    /// Numbers of bits. The lowest 16 are the rule.
    const REASON: u32 = 16;
    const FAULT: u32 = 24;
    const ERRNO: u32 = 32;
    const VERDICT: u32 = 40;
    const OWNED: u32 = 48;
    const RECORDED: u32 = 49;
    const ABOVE: u32 = 56;

    /// All that matters of what is not recorded.
    #[inline(always)]
    fn errno_of(settled: &Settled) -> Self {
        Self((settled.errno as u64 & 0xff) << Self::ERRNO)
    }

    #[inline(always)]
    fn recorded(self, settled: &Settled, owned: bool) -> Self {
        Self(
            self.0
                | u64::from(settled.rule)
                | (settled.reason as u64) << Self::REASON
                | (settled.fault as u64) << Self::FAULT
                | (settled.verdict as u64) << Self::VERDICT
                | u64::from(settled.above) << Self::ABOVE
                | u64::from(owned) << Self::OWNED
                | 1 << Self::RECORDED,
        )
    }

    #[inline(always)]
    fn is_owned(self) -> bool {
        self.0 >> Self::OWNED & 1 != 0
    }

    #[inline(always)]
    fn is_recorded(self) -> bool {
        self.0 >> Self::RECORDED & 1 != 0
    }

    /// What the hook returns. The verifier wants to see that it is no positive number.
    #[inline(always)]
    fn errno(self) -> i32 {
        match (self.0 >> Self::ERRNO & 0xff) as i32 {
            0 => 0,
            low => low | !0xff,
        }
    }

    #[inline(always)]
    fn outcome(self) -> Outcome {
        let byte = |bit: u32| (self.0 >> bit) as u32 & 0xff;
        Outcome {
            verdict: byte(Self::VERDICT),
            reason: byte(Self::REASON),
            fault: byte(Self::FAULT),
            rule: self.0 as u16,
            above: byte(Self::ABOVE) as u16,
        }
    }
}

/// Kills the current task when its run is over, or this ends it, and the policy says so.
#[inline(always)]
fn end(settled: &Settled, standing: &Standing) {
    if (settled.reason.is_final() || settled.trips()) && standing.ladder == Ladder::KILL {
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
