use super::*;
use crate::{
    capability::Capabilities,
    decide::capability::{may_have, may_make_user_namespace},
};

const CHOWN: u32 = 0;
const SYS_ADMIN: u32 = 21;

#[test]
fn a_run_has_what_its_policy_leaves_to_it() {
    let mut tables = tables();
    tables.run().capabilities = Capabilities::USUAL;
    assert_eq!(may_have(&tables, &TAG, CHOWN), Ok(0));
    for number in [SYS_ADMIN, 41, 63, 64, u32::MAX] {
        assert_eq!(may_have(&tables, &TAG, number), refused(Reason::Capability), "{number}");
    }
    tables.run().capabilities = Capabilities::NONE.with(SYS_ADMIN);
    assert_eq!(may_have(&tables, &TAG, SYS_ADMIN), Ok(0));
    assert_eq!(may_have(&tables, &TAG, CHOWN), refused(Reason::Capability));
}

#[test]
fn every_run_of_the_chain_has_to_leave_it() {
    for length in 2..=MAX_ANCESTRY {
        for lacking in 0..length {
            let mut tables = tables();
            tables.chain(length);
            for depth in 0..length {
                let run = tables.instances.get_mut(&(SLOT + depth)).unwrap();
                run.capabilities = Capabilities::KNOWN;
            }
            assert_eq!(may_have(&tables, &TAG, SYS_ADMIN), Ok(0));
            let run = tables.instances.get_mut(&(SLOT + lacking)).unwrap();
            run.capabilities = Capabilities::USUAL;
            assert_eq!(may_have(&tables, &TAG, SYS_ADMIN), refused(Reason::Capability));
            assert_eq!(may_have(&tables, &TAG, CHOWN), Ok(0));
        }
    }
}

#[test]
fn a_run_that_is_over_has_none() {
    let mut tables = tables();
    tables.run().capabilities = Capabilities::ALL;
    tables.run().state = State::REVOKED;
    assert_eq!(may_have(&tables, &TAG, CHOWN), refused(Reason::Revoked));
    assert_eq!(may_make_user_namespace(&tables, &TAG), refused(Reason::Revoked));
}

#[test]
fn no_capability_brings_a_user_namespace() {
    let mut tables = tables();
    tables.run().capabilities = Capabilities::ALL;
    assert_eq!(may_make_user_namespace(&tables, &TAG), refused(Reason::UserNamespace));
}
