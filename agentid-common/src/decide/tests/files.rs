use super::*;

#[test]
fn a_place_without_an_entry_is_denied() {
    assert_eq!(tables().access(Rights::READ), refused(Reason::NoRule));
    assert_eq!(tables().access(Rights::NONE), refused(Reason::NoRule));
}

#[test]
fn the_nearest_entry_decides_alone() {
    let mut tables = tables();
    tables.state(1, Rights::ALL, Rights::NONE);
    tables.state(2, Rights::READ, Rights::NONE);
    tables.nodes.get_mut(&1).unwrap().other = 1;
    tables.nodes.get_mut(&2).unwrap().other = 2;
    tables.enter(POLICY, 3, [1, 0, 0, 0]);
    assert_eq!(tables.access(Rights::WRITE), Ok(1));
    tables.enter(POLICY, 2, [2, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), Ok(2));
    assert_eq!(tables.access(Rights::WRITE), refused(Reason::NoRule));
}

#[test]
fn a_parameter_is_asked_before_the_policy_at_one_folder() {
    let mut tables = tables();
    tables.state(1, Rights::READ, Rights::NONE);
    tables.state(2, Rights::NONE, Rights::READ);
    tables.enter(POLICY, 1, [1, 0, 0, 0]);
    tables.enter(PARAMS, 1, [2, 0, 0, 0]);
    let denied = Err(Refusal::by_rule(52));
    assert_eq!(tables.access(Rights::READ), denied);
}

#[test]
fn names_lead_on_and_others_do_not() {
    let mut tables = tables();
    tables.state(1, Rights::NONE, Rights::NONE);
    tables.state(2, Rights::NONE, Rights::NONE);
    tables.state(3, Rights::READ, Rights::NONE);
    tables.edge_to(1, 2, 2);
    tables.edge_to(2, 1, 3);
    tables.enter(POLICY, 3, [1, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), Ok(3));
    let other = may_access(&tables, &TAG, &Chain(std::vec![7, 2, 3]), Rights::READ);
    assert_eq!(other, refused(Reason::NoRule));
}

#[test]
fn heads_together_allow_what_none_allows_alone() {
    let mut tables = tables();
    tables.state(1, Rights::READ, Rights::NONE);
    tables.state(2, Rights::WRITE, Rights::NONE);
    tables.enter(PARAMS, 1, [1, 0, 0, 2]);
    assert_eq!(tables.access(Rights::READ.union(Rights::WRITE)), Ok(1));
    assert_eq!(tables.access(Rights::EXEC), refused(Reason::NoRule));
}

#[test]
fn a_denial_of_any_head_beats_every_grant() {
    for head in 0..HEADS {
        let mut tables = tables();
        tables.state(1, Rights::ALL, Rights::NONE);
        tables.state(2, Rights::NONE, Rights::WRITE);
        let mut states = [1; HEADS];
        states[head] = 2;
        tables.enter(PARAMS, 1, states);
        let denied = Err(Refusal::by_rule(52));
        assert_eq!(tables.access(Rights::READ.union(Rights::WRITE)), denied, "head {head}");
        assert_eq!(tables.access(Rights::READ), Ok(1), "head {head}");
    }
}

#[test]
fn a_missing_state_is_a_fault() {
    let mut tables = tables();
    tables.enter(POLICY, 1, [5, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), fault(Fault::StateLookup));
    // On the way down as well as at the end.
    tables.enter(POLICY, 3, [6, 0, 0, 0]);
    tables.entries.remove(&EntryKey { scope: POLICY, anchor: 1, reserved: 0 });
    assert_eq!(tables.access(Rights::READ), fault(Fault::StateLookup));
}

#[test]
fn the_dead_state_leads_nowhere() {
    let mut tables = tables();
    tables.state(1, Rights::ALL, Rights::NONE);
    tables.enter(POLICY, 3, [1, 0, 0, 0]);
    assert_eq!(tables.nodes[&1].other, DEAD);
    assert_eq!(tables.access(Rights::READ), refused(Reason::NoRule));
}

/// No policy compiles to it; a table that says so denies.
#[test]
fn a_denial_without_a_number_is_a_denial() {
    let mut tables = tables();
    tables.state(1, Rights::ALL, Rights::READ);
    tables.nodes.get_mut(&1).unwrap().deny_rule = [0; RIGHTS];
    tables.enter(POLICY, 1, [1, 0, 0, 0]);
    assert_eq!(tables.access(Rights::READ), refused(Reason::DenyRule));
}
