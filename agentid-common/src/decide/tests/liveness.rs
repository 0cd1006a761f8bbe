use super::*;

#[test]
fn an_active_run_before_its_deadline_is_alive() {
    assert_eq!(may_go_on(&tables(), &TAG), Ok(0));
}

#[test]
fn a_slot_with_another_generation_is_not_the_run() {
    let mut tables = tables();
    tables.run().generation += 1;
    assert_eq!(may_go_on(&tables, &TAG), refused(Reason::NotLive));
}

#[test]
fn generation_zero_is_nobody() {
    let mut tables = tables();
    *tables.run() = Instance { state: State::ACTIVE, deadline: DEADLINE, ..Instance::default() };
    assert_eq!(may_go_on(&tables, &Tag { generation: 0, ..TAG }), refused(Reason::NotLive));
}

#[test]
fn a_slot_beyond_the_table_is_a_fault() {
    assert_eq!(may_go_on(&tables(), &Tag { slot: 9, ..TAG }), fault(Fault::InstanceLookup));
}

#[test]
fn rules_that_are_being_written_are_nobodys() {
    let mut tables = tables();
    // One scope is new already, and the other, or the proof that they belong together, is not yet.
    tables.run().policy = 300;
    assert_eq!(may_go_on(&tables, &TAG), fault(Fault::Rebound));
    tables.run().params = 400;
    assert_eq!(may_go_on(&tables, &TAG), fault(Fault::Rebound));
    *tables.run() = tables.run().bound_to(300, 400);
    assert_eq!(may_go_on(&tables, &TAG), Ok(0));
}

#[test]
fn the_deadline_itself_is_too_late() {
    for (now, answer) in [
        (DEADLINE - 1, Ok(0)),
        (DEADLINE, refused(Reason::Expired)),
        (DEADLINE + 1, refused(Reason::Expired)),
    ] {
        assert_eq!(may_go_on(&Tables { now, ..tables() }, &TAG), answer, "{now}");
    }
}

#[test]
fn only_the_active_state_permits() {
    for (state, reason) in [
        (State::FREE, Reason::NotLive),
        (State::SUSPENDED, Reason::Suspended),
        (State::REVOKED, Reason::Revoked),
        (State::COMPLETED, Reason::Completed),
        (State::EXPIRED, Reason::Expired),
        (State(6), Reason::NotLive),
        (State(u32::MAX), Reason::NotLive),
    ] {
        let mut tables = tables();
        tables.run().state = state;
        assert_eq!(may_go_on(&tables, &TAG), refused(reason), "{state:?}");
    }
}

#[test]
fn a_suspended_run_ends_at_its_deadline() {
    let mut tables = tables();
    *tables.run() = Instance { state: State::SUSPENDED, deadline: 1, ..instance(TAG.generation) };
    assert_eq!(may_go_on(&tables, &TAG), refused(Reason::Expired));
}

#[test]
fn standing_is_read_of_a_dead_run_and_never_of_another() {
    let mut tables = tables();
    *tables.run() = Instance {
        state: State::REVOKED,
        mode: Mode::AUDIT,
        ladder: Ladder::KILL,
        ..instance(TAG.generation)
    };
    let found = standing(&tables, &TAG);
    assert_eq!((found.mode, found.ladder, found.owned), (Mode::AUDIT, Ladder::KILL, true));
    let other = standing(&tables, &Tag { generation: 11, ..TAG });
    assert_eq!((other.mode, other.ladder, other.owned), (Mode::ENFORCE, Ladder::DENY, false));
}
