//! Does anyone switch the trampolines off?
//!
//! `cgroup/sysctl` on the root of the hierarchy: kernel/bpf/cgroup.c, `__cgroup_bpf_run_filter_sysctl`.
//! On 6.1 and 6.12 writing 0 to `kernel.ftrace_enabled` detaches every LSM program without a word
//! (kernel/trace/ftrace.c: `ftrace_shutdown_sysctl`); nobody may write it, the daemon included.

use agentid_common::{counter, verdict::Hook};
use aya_ebpf::{
    EbpfContext, bindings::bpf_sysctl, helpers::generated::bpf_sysctl_get_name,
    macros::cgroup_sysctl, programs::SysctlContext,
};

use crate::count;

const REFUSE: i32 = 0;
const ALLOW: i32 = 1;

/// The name with its closing zero, as the kernel gives it.
const FTRACE_ENABLED: &[u8; 22] = b"kernel/ftrace_enabled\0";

#[cgroup_sysctl]
pub fn sysctl(ctx: SysctlContext) -> i32 {
    let context: *mut bpf_sysctl = ctx.as_ptr().cast();
    // SAFETY: the verifier checks the context's layout.
    if unsafe { (*context).write } == 0 {
        return ALLOW;
    }
    let mut name = [0u8; 32];
    // SAFETY: the helper writes at most the given length.
    let length =
        unsafe { bpf_sysctl_get_name(context, name.as_mut_ptr().cast(), name.len() as u64, 0) };
    // A name that does not fit is not the one that is guarded.
    if length != FTRACE_ENABLED.len() as i64 - 1 {
        return ALLOW;
    }
    let mut index = 0;
    while index < FTRACE_ENABLED.len() {
        if name[index & 31] != FTRACE_ENABLED[index] {
            return ALLOW;
        }
        index += 1;
    }
    count::bump(counter::guarded(Hook::Sysctl));
    REFUSE
}
