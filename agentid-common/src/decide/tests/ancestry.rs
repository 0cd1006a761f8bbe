use super::*;

#[test]
fn a_chain_is_alive_up_to_its_bound() {
    for length in 1..=MAX_ANCESTRY {
        let mut tables = tables();
        tables.chain(length);
        let found = alive(&tables, &TAG).unwrap();
        assert_eq!(found.length, length);
        let policies: Vec<u64> = found.chain.iter().map(|scopes| scopes.policy).collect();
        let expected: Vec<u64> = (0..length).map(|depth| POLICY + u64::from(depth)).collect();
        assert_eq!(policies[..length as usize], expected);
    }
}

#[test]
fn a_longer_chain_and_a_circle_are_faults() {
    let mut tables = tables();
    tables.chain(MAX_ANCESTRY + 1);
    assert_eq!(may_go_on(&tables, &TAG), fault(Fault::Ancestry));
    tables.chain(1);
    tables.run().parent = SLOT;
    tables.run().parent_generation = TAG.generation;
    assert_eq!(may_go_on(&tables, &TAG), fault(Fault::Ancestry));
}

#[test]
fn a_run_ends_with_any_run_above_it() {
    for depth in 1..3 {
        let mut tables = tables();
        tables.chain(3);
        tables.instances.get_mut(&(SLOT + depth)).unwrap().state = State::REVOKED;
        assert_eq!(may_go_on(&tables, &TAG), refused(Reason::AncestorEnded));
        tables.chain(3);
        tables.instances.get_mut(&(SLOT + depth)).unwrap().deadline = tables.now;
        assert_eq!(may_go_on(&tables, &TAG), refused(Reason::AncestorEnded));
    }
}

/// A suspension may end; the run must not be killed for it.
#[test]
fn a_suspended_parent_holds_without_ending() {
    let mut tables = tables();
    tables.chain(2);
    tables.instances.get_mut(&(SLOT + 1)).unwrap().state = State::SUSPENDED;
    assert_eq!(may_go_on(&tables, &TAG), refused(Reason::Suspended));
    assert!(!Reason::Suspended.is_final());
}

#[test]
fn a_parent_slot_that_was_given_away_is_no_parent() {
    let mut tables = tables();
    tables.chain(2);
    tables.instances.get_mut(&(SLOT + 1)).unwrap().generation += 1;
    assert_eq!(may_go_on(&tables, &TAG), refused(Reason::AncestorEnded));
}

#[test]
fn a_parent_slot_beyond_the_table_is_a_fault() {
    let mut tables = tables();
    tables.run().parent = 77;
    assert_eq!(may_go_on(&tables, &TAG), fault(Fault::InstanceLookup));
}

#[test]
fn every_run_of_the_chain_has_to_allow() {
    let mut tables = tables();
    tables.chain(2);
    tables.state(1, Rights::READ, Rights::NONE);
    tables.state(2, Rights::WRITE, Rights::NONE);
    tables.enter(POLICY, 1, [1, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), refused_above(Reason::NoRule));
    tables.enter(POLICY + 1, 1, [2, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), refused_above(Reason::NoRule));
    tables.enter(POLICY + 1, 1, [1, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), Ok(1));
}

#[test]
fn a_tripwire_is_met_whatever_else_denies_the_file() {
    let mut tables = tables();
    tables.chain(3);
    tables.state(1, Rights::READ, Rights::NONE);
    tables.state(2, Rights::NONE, Rights::READ);
    tables.tripwire(3);
    let met = |above| Err(Refusal::by_rule(TRIPWIRE | 53).from_above(above));
    for own in [[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]] {
        tables.enter(POLICY, 1, own);
        tables.enter(POLICY + 1, 1, [1, 0, 0, 0]);
        tables.enter(POLICY + 2, 1, [3, 0, 0, 0]);
        assert_eq!(tables.access(Rights::READ), met(2));
        tables.enter(POLICY + 1, 1, [1, 2, 3, 1]);
        assert_eq!(tables.access(Rights::READ), met(1));
    }
    tables.enter(POLICY, 1, [2, 3, 0, 0]);
    assert_eq!(tables.access(Rights::READ), met(0));
}

#[test]
fn of_several_denials_the_first_counts() {
    let mut tables = tables();
    tables.chain(3);
    tables.state(1, Rights::READ, Rights::NONE);
    tables.state(2, Rights::NONE, Rights::READ);
    tables.enter(POLICY, 1, [1, 0, 0, 0]);
    tables.enter(POLICY + 1, 1, [2, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), Err(Refusal::by_rule(52).from_above(1)));
    tables.enter(POLICY, 1, [0, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), refused(Reason::NoRule));
}
