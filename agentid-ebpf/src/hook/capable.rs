//! May this run use this capability?
//!
//! `int capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)`, from 6.1 to 7.3:
//! security/security.c, `security_capable`, behind `capable`, `ns_capable` and all their kin. The kernel's own answer
//! (security/commoncap.c, `cap_capable`) comes first, and a refusal of it ends the chain: who has no capabilities is never
//! asked about here.
//!
//! The set of the run is the same in every user namespace, and whoever's credentials are asked about: what counts is that a
//! task of the run is at work. Only where the kernel acts in its place, with credentials that it has lent (an overlay in
//! its layers; see `change.rs`), what was judged before goes on with them.
//!
//! Everybody's system calls pass here, many of them more than once, so that a use that is allowed is not counted. Nor does
//! every question mean anything: some only probe, and say so by `CAP_OPT_NOAUDIT`; and `CAP_DAC_READ_SEARCH` is asked for
//! before `CAP_DAC_OVERRIDE` wherever root looks for or reads a file that is not its own. A refusal of these is in the
//! host's figures, and neither in the run's nor in its records.
//! Cannot see: what root owns and needs no capability for (`/proc/sys`, `/sys`, the cgroups), which file rules hold; what
//! was had before the run began, such as a descriptor; `cap_vm_enough_memory`, which does not ask.

use agentid_common::{
    capability::DAC_READ_SEARCH,
    decide::capability::may_have,
    record::PeerBody,
    verdict::{Answer, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    object::Object,
    settle::{Allowed, conclude, conclude_probe},
    subject,
};

/// include/linux/security.h
const CAP_OPT_NOAUDIT: u32 = 2;

#[lsm(hook = "capable")]
pub fn capable(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    if subject::acts_for_the_kernel() {
        return 0;
    }
    let (capability, options): (u32, u32) = (ctx.arg(2), ctx.arg(3));
    let answer: Answer = may_have(&Live, tag, capability);
    if answer.is_ok() {
        return 0;
    }
    if options & CAP_OPT_NOAUDIT != 0 || capability == DAC_READ_SEARCH {
        return conclude_probe(Hook::Capable, tag, answer);
    }
    let object = Object::Peer(PeerBody { port: capability as u16, ..PeerBody::default() });
    conclude(Hook::Capable, Allowed::Counted, &object, tag, answer)
}
