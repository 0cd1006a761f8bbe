//! May this run execute this file?
//!
//! `int bprm_check_security(struct linux_binprm *bprm)`, from 6.1 to 7.3.
//! Called by fs/exec.c: `search_binary_handler`, for a script and again for its interpreter. The arguments are in memory
//! that is nobody's yet, where no program can read them: `bprm_committed_creds` does.
//! Cannot see: code that an interpreter reads. A program that the dynamic loader is told to run is seen when it is mapped.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::may_execute;
use crate::{kfield::Binprm, settle::conclude_execution, subject};

#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(ctx: LsmContext) -> i32 {
    match subject::run() {
        None => 0,
        Some(tag) => {
            let program = Binprm(ctx.arg(0));
            let answer = may_execute(tag, program.file());
            conclude_execution(program, tag, answer)
        }
    }
}
