//! May this run execute this file?
//!
//! `int bprm_check_security(struct linux_binprm *bprm)`, from 6.1 to 7.3.
//! Called by fs/exec.c: `search_binary_handler`, for a script and again for its interpreter.
//! Cannot see: code that an interpreter reads. A program that the dynamic loader is told to run is seen when it is mapped.

use agentid_common::{file::Rights, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::may_execute;
use crate::{
    kfield::Binprm,
    object::Asked,
    settle::{Allowed, hold},
};

#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(ctx: LsmContext) -> i32 {
    let file = Binprm(ctx.arg(0)).file();
    let want = Rights::EXEC;
    hold(Hook::BprmCheckSecurity, Allowed::Recorded, Asked { file, want }, |tag| {
        may_execute(tag, file)
    })
}
