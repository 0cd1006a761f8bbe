//! What a run may do. The hooks of a later day have their place here: a file each, one question each.

pub mod bprm_check_security;
pub mod capable;
pub mod change;
pub mod create;
pub mod exit;
pub mod file_open;
pub mod file_permission;
pub mod file_receive;
pub mod inode_free;
pub mod ioctl;
pub mod mapping;
mod name;
pub mod netlink_send;
pub mod outlive;
pub mod remove;
pub mod rename;
pub mod socket_accept;
pub mod socket_bind;
pub mod socket_connect;
pub mod socket_create;
pub mod socket_listen;
pub mod socket_post_create;
pub mod socket_sendmsg;
pub mod socket_setsockopt;
pub mod task_alloc;
pub mod unix;
pub mod userns_create;
