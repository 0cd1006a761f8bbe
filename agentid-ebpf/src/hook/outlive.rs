//! Does a task outlive its run?
//!
//! `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)`, from 6.1 to
//! 7.3: kernel/sched/core.c, `__schedule`. The task that leaves the processor is the current one, so that no argument is
//! looked at.
//! `cpu_clock` is a sampling event of each processor, a few times in a second (kernel/events/core.c,
//! `perf_swevent_hrtimer`): who is alone on a processor may not leave it for minutes.
//!
//! They keep nobody from anything. Where the policy has a run's tasks killed at its end, they kill those who meet no
//! hook, with the daemon dead too; attached only while there is such a run.
//! Interrupts are off here, so that the kernel sends the signal a moment later, from an interrupt of its own.
//! Cannot see: a task that sleeps. It is met when it has woken, before it has done anything for long.

use agentid_common::{
    decide::lifecycle::{may_go_on, standing},
    instance::Ladder,
    tag::Tag,
    verdict::{Hook, Refusal},
};
use aya_ebpf::{
    macros::{btf_tracepoint, perf_event},
    programs::{BtfTracePointContext, PerfEventContext},
};

use crate::{
    facts::Live,
    kfield,
    object::Object,
    settle::{Allowed, conclude},
    subject,
};

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(_: BtfTracePointContext) -> i32 {
    look();
    0
}

#[perf_event]
pub fn cpu_clock(_: PerfEventContext) -> u32 {
    look();
    0
}

/// Ends the current task if its run is over and its policy says so.
#[inline(always)]
fn look() {
    if let Some(tag) = subject::run() {
        meet(tag);
    }
}

#[inline(always)]
fn meet(tag: &Tag) {
    let Err(refusal @ Refusal::Denied { reason, .. }) = may_go_on(&Live, tag) else { return };
    if !reason.is_final()
        || standing(&Live, tag).ladder != Ladder::KILL
        || kfield::is_exiting(subject::current_task())
    {
        return;
    }
    conclude(Hook::SchedSwitch, Allowed::Counted, &Object::None, tag, Err(refusal));
}
