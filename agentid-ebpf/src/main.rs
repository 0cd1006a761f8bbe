//! agentid's kernel programs: one object, many programs, one file per hook.
//!
//! A hook asks one question about the current task and one object, and [`settle::hold`] turns the answer into what
//! the system call returns, what is counted and what is recorded:
//!
//! | program | question |
//! |---|---|
//! | `task_alloc` | may this run start a task? The new one carries the tag, or is not created |
//! | `task_free`, `sched_process_exit` | is that the last task of the run? |
//! | `file_open` | may this run open this file so? |
//! | `path_mkdir`, `path_mknod`, `path_symlink` | may this run make something of this name? |
//! | `path_unlink`, `path_rmdir` | may this run take this name away? |
//! | `inode_create`, `inode_unlink` | may this run make, or take away, this message queue? |
//! | `path_notify` | may this run be told what becomes of this file, or of what is in this folder? |
//! | `path_rename`, `path_link` | may this run give this file another name, or one more? |
//! | `inode_setattr`, `inode_*xattr`, `inode_*_acl`, `inode_file_setattr` | may this run change this file without opening it? |
//! | `inode_getxattr` | may this run read this extended attribute of a file? |
//! | `inode_free_security` | is that the end of a folder that something may be remembered of? |
//! | `bprm_check_security` | may this run execute this file? |
//! | `file_permission`, `socket_recvmsg`, `socket_getsockopt` | may this run still use what it has open? |
//! | `mmap_file`, `file_mprotect` | may this run map this file, and execute what it maps of it? |
//! | `file_ioctl`, `file_ioctl_compat` | may this run use this ioctl on this file? |
//! | `file_receive` | may this run have this file from another process? |
//! | `socket_create` | may this run make this kind of socket? |
//! | `socket_post_create` | may this run make a socket? The new one carries the tag, or is not made |
//! | `socket_connect`, `socket_sendmsg` | may this run talk to this peer? |
//! | `socket_bind`, `socket_listen`, `socket_accept` | may this run listen at this address of its own? |
//! | `socket_setsockopt` | may this run set this option of a socket? |
//! | `unix_stream_connect`, `unix_may_send`, `socket_socketpair` | may this run talk to this unix socket? |
//! | `netlink_send` | may this run say this to the kernel? |
//! | `skb_ingress`, `skb_egress` | may this packet of a run's socket pass? |
//! | `names_*` | where does a run's question for a name go? |
//! | `sched_switch`, `cpu_clock` | does a task outlive its run? |
//! | `capable`, `userns_create` | may this run use this capability, or make a user namespace? |
//! | `bpf`, `task_kill`, `file_fcntl`, `ptrace_access_check`, `ptrace_traceme`, `task_set…`, `task_movememory` | does a run reach for agentid itself, or for others? |
//! | `sb_umount`, `sb_mount`, `move_mount`, `sb_pivotroot`, `sb_remount`, `inode_unlink`, `inode_rmdir`, `inode_rename` | does anyone but the daemon take the pins away? |
//! | `sysctl` | does anyone switch the trampolines off? |
//! | `list_tasks`, `list_sockets` | which tasks, and which sockets, carry a tag? |
//! | `list_shares` | what does this task share with others? |
//! | `adopt_tasks` | which tasks are to become those of a run? |
//!
//! A program before ours that has denied ends the chain (arch/x86/net/bpf_jit_comp.c: `invoke_bpf_mod_ret`), so a
//! verdict of another program is never overruled and never looked at.
//!
//! Nothing here uses a per-CPU scratch buffer: from 6.12 on these programs can be preempted, and two tasks would
//! share it.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "the atomic read-modify-writes of BPF have no stable name")]

mod adopt;
mod apart;
mod count;
mod emit;
mod execution;
mod facts;
mod guard;
mod hook;
mod kfield;
mod maps;
mod names;
mod object;
mod packet;
mod settle;
mod shares;
mod socket;
mod sockets;
mod subject;
mod tasks;
mod vouched;

/// The verifier refuses a program from which this can be reached, because it does not end.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
