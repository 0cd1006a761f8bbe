//! Which program has a run started, and with which arguments?
//!
//! `void bprm_committed_creds(const struct linux_binprm *bprm)`, from 6.1 to 7.3.
//! Called by fs/exec.c: `begin_new_exec`, once for each execution that can fail no more for the caller. The new memory is the
//! task's by now, and the arguments lie there as the kernel has copied them, before anybody could change them.
//! It decides nothing: `bprm_check_security` was asked for the file, and for the script before it.
//! Cannot see: the dynamic loader, which `mmap_file` is asked for; what of the arguments is swapped out; an environment,
//! which is nobody's business.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{kfield::Binprm, settle, subject};

#[lsm(hook = "bprm_committed_creds")]
pub fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    if let Some(tag) = subject::run() {
        settle::executed(Binprm(ctx.arg(0)), tag);
    }
    0
}
