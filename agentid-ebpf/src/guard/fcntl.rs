//! Does a run have a signal sent to a process that is not its own, by way of a file?
//!
//! `int file_fcntl(struct file *file, unsigned int cmd, unsigned long arg)`, from 6.1 to 7.3: fs/fcntl.c, `fcntl` and
//! `do_compat_fcntl64`. io_uring has no such operation.
//!
//! A file's owner is sent SIGIO, SIGURG or the signal that was chosen, and no hook is asked who had it sent. The programs
//! that are asked at the delivery (`file_send_sigiotask`) find any task running, and no trace of who has made the owner.
//! So a run makes nobody the owner but the process that asks, and where somebody else has made an owner it neither chooses
//! the signal nor has one sent. `FIOASYNC` is `file_ioctl`'s; the other ioctls that make an owner are not in the list.
//! Cannot see: who makes himself the owner, later, of a file that he shares with a run, and gets the signal that the run
//! has chosen for itself before.

use agentid_common::{
    fcntl::{Need, need},
    verdict::{Answer, Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    kfield::{File, argument_as_number},
    object::{Object, owner},
    settle::{Allowed, conclude},
    subject,
};

#[lsm(hook = "file_fcntl")]
pub fn file_fcntl(ctx: LsmContext) -> i32 {
    let (command, argument): (u64, u64) = (ctx.arg(1), ctx.arg(2));
    // Asked first, because most calls of the host have their answer here.
    let need = need(command as u32, argument);
    if need == Need::Nothing {
        return 0;
    }
    let Some(tag) = subject::run() else { return 0 };
    let answer = ask(&ctx, need, argument);
    if answer.is_ok() {
        return 0;
    }
    conclude(Hook::FileFcntl, Allowed::Counted, &Object::None, tag, answer)
}

#[inline(always)]
fn ask(ctx: &LsmContext, need: Need, argument: u64) -> Answer {
    let file = File(ctx.arg(0));
    let stays_inside = match need {
        Need::Nothing => true,
        Need::OwnProcess => owner::is_own_process(file, argument as u32)?,
        Need::OwnFile => owner::is_own_file(file, argument_as_number(ctx, 0))?,
        Need::Never => false,
    };
    if stays_inside { Ok(0) } else { Err(Refusal::denied(Reason::OutsideRun)) }
}
