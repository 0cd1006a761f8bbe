//! May this run make a user namespace?
//!
//! `int userns_create(const struct cred *cred)`, from 6.1 to 7.3: kernel/user_namespace.c, `create_user_ns`, for unshare(2),
//! clone(2) and clone3(2).
//! Cannot see: entering one that is there already (setns(2)), which takes `CAP_SYS_ADMIN` in it and is `capable`'s to refuse.

use agentid_common::{decide::capability::may_make_user_namespace, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    object::Object,
    settle::{Allowed, hold},
};

#[lsm(hook = "userns_create")]
pub fn userns_create(_: LsmContext) -> i32 {
    hold(Hook::UsernsCreate, Allowed::Counted, Object::None, |tag| {
        may_make_user_namespace(&Live, tag)
    })
}
